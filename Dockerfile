# SPDX-FileCopyrightText: The apikey-manager Authors
# SPDX-License-Identifier: Apache-2.0

# Builds the images with a container engine: make docker-build. The targets manager and verifier have the layout of the images
# that make images builds with ko.
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
    go build -trimpath -ldflags "${LDFLAGS}" -o /ko-app/ ./cmd/manager ./cmd/verifier

FROM gcr.io/distroless/static:nonroot AS base
# The user is numeric, so that Kubernetes can verify runAsNonRoot.
USER 65532:65532

FROM base AS verifier
COPY --from=build /ko-app/verifier /ko-app/verifier
ENTRYPOINT ["/ko-app/verifier"]

# The last target is the one that is built if none is named.
FROM base AS manager
COPY --from=build /ko-app/manager /ko-app/manager
ENTRYPOINT ["/ko-app/manager"]
