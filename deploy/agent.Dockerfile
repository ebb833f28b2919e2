# The agent, as nobody's user, for machines whose owners like containers. It needs the
# machine's Docker engine, which runs the jobs; it has no other rights on the machine than
# those of the engine's socket, and these are many.
#
#   docker build -f deploy/agent.Dockerfile -t peergpu-agent .
#   sudo install -d -o 65532 -g 65532 -m 0700 /var/lib/peergpu-agent
#   agent() { docker run --rm -it --gpus all --user "65532:$(stat -c %g /var/run/docker.sock)" \
#     -v /var/run/docker.sock:/var/run/docker.sock -v /var/lib/peergpu-agent:/var/lib/peergpu-agent \
#     -e PEERGPU_ENROLLMENT_TOKEN peergpu-agent "$@"; }
#   agent enroll --server https://gpu.example.org --price-micros 350000
#   agent doctor
#   agent run            # with docker run -d --restart unless-stopped in place of --rm -it
#
# The folder has the same path inside and outside: the engine binds jobs' folders by the path
# that the agent tells it.
ARG GO_IMAGE=golang:1.26-bookworm
# What the NVIDIA toolkit puts into the container (the driver's library and nvidia-smi) needs a
# libc, at least as new as that of GO_IMAGE.
ARG BASE_IMAGE=debian:12-slim

FROM ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_CFLAGS="-O2 -Wno-deprecated-declarations" go build -tags nvml -trimpath -buildvcs=false -ldflags="-s -w" -o /out/peergpu-agent ./agent \
    && CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags="-s -w" -o /out/peergpu-entry ./agent/entry

FROM ${BASE_IMAGE}
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/ /usr/local/bin/
USER 65532:65532
ENV PEERGPU_AGENT_HOME=/var/lib/peergpu-agent NVIDIA_DRIVER_CAPABILITIES=utility
VOLUME /var/lib/peergpu-agent
ENTRYPOINT ["/usr/local/bin/peergpu-agent"]
CMD ["run"]
