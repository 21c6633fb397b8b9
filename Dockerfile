# failoverd, its config and its runbooks in one image: what runs is what was reviewed, and its digests are shown.
# Your own configuration goes to config/failoverd.toml before the build.
#
# Bookworm on both sides: the binary links against the builder's glibc, and the runtime image has that of Debian 12.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin failoverd \
    && mkdir -p /out/data \
    && cp target/release/failoverd /out/failoverd

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/failoverd /failoverd
COPY LICENSE /LICENSE
COPY config /etc/failoverd
COPY runbooks /etc/failoverd/runbooks
# The root file system may be read-only (ECS: readonlyRootFilesystem). The embedded store writes here alone: mount
# a local disk (never a network file system, which is refused). On Fargate the disk goes with the task.
COPY --from=build --chown=65532:65532 /out/data /var/lib/failoverd
USER 65532:65532
STOPSIGNAL SIGTERM
# ECS: stopTimeout 30 (docker stop --time 30; docker's own default of 10 is too short). On SIGTERM no new effect
# starts, the call under way is finished within its bound, and the process is gone within 25 s.
#
# ECS health check: this image has no shell and no curl, so no HEALTHCHECK here. Let the target group ask /healthz
# (alive), and never /readyz (able to act): in the disaster a daemon that cannot reach AWS must be waited for, and
# replacing its task would only take away the one that could go on.
ENTRYPOINT ["/failoverd"]
CMD ["serve", "--config", "/etc/failoverd/failoverd.toml"]
