FROM a
COPY --from=0 /x /y
COPY --from=7 /x /y
