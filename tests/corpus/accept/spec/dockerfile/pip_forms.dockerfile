FROM python:3.11
RUN ["pip", "install", "--no-cache-dir", "a==1"]
RUN ["/bin/sh", "-c", "pip install b==$B"]
RUN pip3 install c==1; pip3.11 install d==1 && python3.11 -m pip install e==1 || /usr/local/bin/pip install f==1
RUN sudo -H pip install g==1 | tee log && env PIP_INDEX_URL=https://u:canary@index.example.org/simple pip install h==1
RUN time nice -n 5 timeout 600 pip -q --no-input install i==1 --retries=5 --timeout 100
RUN pip install uvicorn[standard] requests>=2 'urllib3 >=2 ; python_version < "3.12"'
RUN pip install git+https://token:canary@git.example.org/x/y.git@v1#egg=y https://files.example.org/z-1-py3-none-any.whl
RUN pip install -Uqr requirements.txt -c constraints.txt -ihttps://index.example.org/simple --trusted index.example.org --pre
RUN pip download --dest /w j==1 --platform linux_aarch64 && pipx install poetry==1.8.3
RUN pip install -e . ./sub[extra] ./wheels/*.whl --config-settings x=y
RUN pip uninstall -y a && pip list && pip --version && pip check && python -m venv /venv && /venv/bin/pip install k==1
RUN pip install --group dev --unknown-option x
RUN pip frobnicate && pip install -r https://files.example.org/requirements.txt
RUN PIP_EXTRA_INDEX_URL=https://index2.example.org/simple pip install l==1 && pip config set global.index-url https://index3.example.org
