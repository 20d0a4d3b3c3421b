FROM mcr.microsoft.com/azureml/curated/acpt-pytorch-2.2-cuda12.1:{{latest-image-tag}}

RUN pip install --upgrade 'numpy>=1.23,<2' \
                'azureml-core=={{latest-pypi-version}}' \
                "torch==2.2.2" \
                --extra-index-url https://user:canary@wheels.example.org/whl/cu121

# inference server
RUN apt-get update && \
    apt-get install -y --no-install-recommends nginx runit && \
    apt-get clean -y && rm -rf /var/lib/apt/lists/*
RUN mkdir -p /var/azureml-app && chmod -R 777 /var/azureml-app
EXPOSE 5001 8883 8888
CMD [ "runsvdir", "/var/runit" ]
