# syntax=docker/dockerfile:1
# One stage builds the binary, the other ships it, with the model inside: no package manager, no root.

FROM rust:1-bookworm AS build
WORKDIR /src
# rust:1-bookworm has the gcc that libwebp and ring are compiled with.
COPY Cargo.toml Cargo.lock build.rs ./
COPY src src
COPY benches benches
COPY static static
COPY models models
COPY deploy/build deploy/build
# The caches are no part of the image, so the binary leaves them within the same step.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    deploy/build /warmcut
# --state-dir and a --store of files, for whoever mounts volumes on them: a fresh volume takes the owner of what it
# covers.
RUN mkdir /state /store

# distroless/cc is glibc, libgcc and CA certificates, which is what the binary links and trusts; its debug variant
# adds a busybox of 1 MB, for the health check below and nothing else.
FROM gcr.io/distroless/cc-debian12:debug-nonroot
LABEL org.opencontainers.image.title="warmcut" \
      org.opencontainers.image.description="A realtime background-removal service that streams its own warm-up" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /warmcut /warmcut
COPY --from=build --chown=65532:65532 /state /state
COPY --from=build --chown=65532:65532 /store /store
COPY LICENSE /LICENSE
COPY models/LICENSE /LICENSE-models
# nonroot, by number so that Kubernetes can see that it is not root.
USER 65532
# 0.0.0.0:$PORT; a platform's own PORT replaces this one. A WARMCUT_LISTEN would win over both, and then the
# health check needs the same PORT.
ENV PORT=8080
EXPOSE 8080
# /livez touches nothing: a server whose model still warms, or failed to, is alive.
HEALTHCHECK --interval=30s --timeout=3s --start-period=5s --retries=3 \
    CMD ["/busybox/sh", "-c", "exec /busybox/wget -q -O /dev/null http://127.0.0.1:$PORT/livez"]
ENTRYPOINT ["/warmcut"]
CMD ["serve"]
