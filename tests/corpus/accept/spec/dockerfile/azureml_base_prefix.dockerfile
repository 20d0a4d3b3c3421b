FROM mcr.microsoft.com/azureml/minimal-ubuntu22.04-py310-cpu-inference@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
USER root
COPY --chown=dockeruser:root environment.yml /tmp/
RUN conda env update --name base --file /tmp/environment.yml
SHELL ["conda", "run", "-n", "base", "/bin/bash", "-c"]
RUN pip install debugpy==1.8.1
USER dockeruser
