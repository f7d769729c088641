# SPDX-FileCopyrightText: The apikey-manager Authors
# SPDX-License-Identifier: Apache-2.0

FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
# Download the modules first: they change less often than the code, so this layer is usually cached.
COPY go.mod go.sum ./
RUN go mod download
COPY api/ api/
COPY cmd/ cmd/
COPY controllers/ controllers/
COPY internal/ internal/
ARG TARGETOS
ARG TARGETARCH
# make docker-build sets the version, the commit and its date.
ARG LDFLAGS="-s -w"
RUN CGO_ENABLED=0 GOOS=${TARGETOS} GOARCH=${TARGETARCH} \
    go build -trimpath -ldflags "${LDFLAGS}" -o /out/ ./cmd/manager ./cmd/verifier

# One image for both binaries: the Deployment of the verifier sets command: [/verifier].
FROM gcr.io/distroless/static:nonroot
COPY --from=build /out/manager /out/verifier /
# The user is numeric, so that Kubernetes can verify runAsNonRoot.
USER 65532:65532
ENTRYPOINT ["/manager"]
