# The server with its web app: one static program, as nobody's user, in an image with
# nothing else.
#
#   docker build -f deploy/server.Dockerfile -t peergpu .
#   docker run -p 8080:8080 -v peergpu:/data peergpu            # embedded parts
#
# deploy/compose.yaml starts two of them with Postgres, Redis and S3.
ARG NODE_IMAGE=node:20-bookworm-slim
ARG GO_IMAGE=golang:1.26-bookworm

FROM ${NODE_IMAGE} AS web
WORKDIR /src/web
COPY web/package.json web/package-lock.json ./
RUN npm ci --no-audit --no-fund --loglevel=error
COPY openapi/openapi.yaml ../openapi/
COPY web ./
RUN npm run --silent gen && npm run --silent build

FROM ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
COPY --from=web /src/web/dist web/dist
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags="-s -w" -o /out/peergpu . \
    && mkdir -m 0700 /out/data && mkdir -m 1777 /out/tmp

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/peergpu /usr/local/bin/peergpu
COPY --from=build --chown=65532:65532 /out/data /data
COPY --from=build --chown=65532:65532 /out/tmp /tmp
USER 65532:65532
ENV PEERGPU_LISTEN=0.0.0.0:8080 PEERGPU_DATA=/data
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s CMD ["/usr/local/bin/peergpu", "ready"]
ENTRYPOINT ["/usr/local/bin/peergpu"]
CMD ["serve"]
