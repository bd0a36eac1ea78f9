"""Alternating runs of warmcut and its peers on the same work; medians and their ratios."""

import argparse
import platform
import statistics
import subprocess
import time

import numpy
import onnxruntime


# Seconds between two runs.
PAUSE = 0.1


class Ours:
    """The network in its own process, once for each line that it is sent."""

    def __init__(self, bench, threads, *arguments):
        command = [bench, "--on-request", "--threads", str(threads), *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class OnnxRuntime:
    def __init__(self, model, threads):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.photo = {self.session.get_inputs()[0].name: numpy.random.rand(1, 3, 320, 320).astype("float32")}

    def run(self):
        begun = time.perf_counter()
        self.session.run(None, self.photo)
        return (time.perf_counter() - begun) * 1e3


def in_turns(ours, peer, turns):
    """Medians of both, the first runs of each left out."""
    times = []
    for turn in range(turns + 3):
        pair = []
        for one in (ours, peer):
            # A runtime's threads spin for a while after their work, and the next one would pay for it.
            time.sleep(PAUSE)
            pair.append(one.run())
        if turn >= 3:
            times.append(pair)
    return [statistics.median(column) for column in zip(*times)]


def machine():
    with open("/proc/cpuinfo") as cpus:
        names = [line.split(":")[1].strip() for line in cpus if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores, {platform.system()} {platform.release()}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--model", "--bench", "--warmcut"):
        parser.add_argument(name, required=True)
    parser.add_argument("--turns", type=int, default=21)
    arguments = parser.parse_args()
    print(f"{machine()}; ONNX Runtime {onnxruntime.__version__}; medians of {arguments.turns} turns\n")
    print("| work | warmcut | peer | ratio |\n| --- | --- | --- | --- |")
    for threads in (2, 1):
        peer = OnnxRuntime(arguments.model, threads)
        ours = Ours(arguments.bench, threads)
        mine, theirs = in_turns(ours, peer, arguments.turns)
        ours.close()
        print(f"| U²-NetP, {threads} threads | {mine:.1f} ms | {theirs:.1f} ms | {mine / theirs:.3f} |")


if __name__ == "__main__":
    main()
