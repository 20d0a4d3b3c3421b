FROM continuumio/miniconda3:24.5.0-0
RUN conda config --add channels bioconda && conda config --set channel_priority strict
RUN conda update -n base -c defaults conda && conda install -y \
        numpy=1.26 \
        "samtools>=1.19"
RUN conda create -n ml --override-channels -c conda-forge -c https://user:canary@conda.example.org/ml python=3.11 $EXTRA
RUN /opt/conda/bin/mamba install --file specs.txt
RUN conda install --all --clone other
COPY specs.txt conda-linux-64.lock .
RUN conda install -c conda-forge --file specs.txt
RUN conda build recipe && . /opt/conda/etc/profile.d/conda.sh && conda activate ml && python -m pip install mlflow==2.14.1
