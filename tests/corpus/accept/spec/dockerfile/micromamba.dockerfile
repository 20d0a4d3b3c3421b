FROM mambaorg/micromamba:1.5.8
COPY --chown=$MAMBA_USER:$MAMBA_USER environment.yml /tmp/env.yaml
RUN micromamba install -y -n base -f /tmp/env.yaml && \
    micromamba clean --all --yes
ARG MAMBA_DOCKERFILE_ACTIVATE=1
RUN micromamba install -yqn base -c conda-forge 'python>=3.11,<3.12' \
      pytorch::pytorch=2.2 \
      cuda-version=12
RUN micromamba run -n base pip install --no-deps einops==0.8.0
RUN micromamba install -y -n base nothing-is-said-of-channels
