# syntax = example.org/frontend:2
# escape=`
FROM scratch AS empty
FROM empty AS more
FROM LOCALHOST:5000/x/y:z@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef AS Pinned
FROM --platform=$BUILDPLATFORM golang:1.22 AS go
FROM --platform=linux/arm64/v8 alpine
FROM Upper/Case
FROM "quoted:1"
COPY --from=pinned /a /b
COPY --from=EMPTY /a /b
COPY --from=3 /a /b
COPY --from=unknown-stage /a /b
COPY --from=last /a /b
COPY --from=$WHICH /a /b
RUN --mount=type=cache,target=/c --mount=from=tools:1,target=/t --mount=type=bind,from=go,target=/g true
FROM go AS last
ONBUILD COPY --from=later.example.org/x:1 /a /b
ONBUILD RUN pip install `
    onbuild==1
ONBUILD RUN apt-get install -y x
ONBUILD ENV X=1
