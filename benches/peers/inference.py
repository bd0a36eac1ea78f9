"""The network alone, in warmcut and in ONNX Runtime."""

import subprocess
import time

import numpy
import onnxruntime


class Warmcut:
    """The network in its own process, once for each line that it is sent."""

    def __init__(self, bench, threads, *arguments):
        command = [bench, "--on-request", "--threads", str(threads), *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self):
        """Milliseconds of one run."""
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
        """Milliseconds of one run."""
        begun = time.perf_counter()
        self.session.run(None, self.photo)
        return (time.perf_counter() - begun) * 1e3

    def close(self):
        del self.session
