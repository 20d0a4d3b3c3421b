FROM python:3.11-slim
LABEL maintainer="somebody" version=1
WORKDIR /app
RUN groupadd -r app && useradd -r -g app app && mkdir -p /data && chown -R app:app /data "$HOME" && chmod 755 /data
RUN set -ex; echo hello > /tmp/x; ls -la; cat /etc/os-release; rm -rf /tmp/* ~/.cache; true
RUN apt-get update -qq; apt-get -y autoremove; apt-get clean; dnf clean all; apk del curl; pip cache purge; conda clean -afy
RUN [ -f x ] && test -d /y || exit 1; command -v python; which pip; nvidia-smi; python --version
VOLUME /data
HEALTHCHECK --interval=5s CMD curl -f http://localhost/ || exit 1
STOPSIGNAL SIGTERM
ENTRYPOINT pip install at-start
CMD pip install at-start
