FROM ubuntu:24.04
RUN apt-get update && apt-get install -y build-essential && apt-get upgrade
RUN curl -fsSL -H "Authorization: Bearer canary" https://u:canary@get.example.org/install.sh?sig=canary | bash -s -- --token canary
RUN wget -qO- https://example.org/x.tgz | tar xz -C /opt && make -C /opt/x install
RUN if [ "$X" = 1 ]; then pip install hidden; fi; pip install after
RUN for p in a b; do pip install $p; done
RUN echo $(pip install in-a-substitution) `curl https://example.org`
RUN bash setup.sh && ./configure && sh -c "$SCRIPT" && $PIP install x && source ./env.sh && eval "pip install y"
RUN npm install -g pm2 && Rscript -e 'install.packages("x")' && cargo install ripgrep && go install example.org/x
RUN python setup.py install && python -c "import os" && poetry install && pipenv sync && easy_install x
RUN echo pip install not-a-command && find / -name '*.pyc' -delete && find . -exec rm {} + && find . -exec pip install z ;
RUN alias pip=evil; cat list.txt | xargs pip install; git clone https://example.org/r.git
RUN (pip install grouped) && { pip install braced; }
RUN ["apk", "add", "curl"]
RUN cp evil.sh /usr/bin/pip && ln -s /usr/bin/python3 /usr/bin/python && ln -s /tmp/x /usr/local/bin/conda
COPY pip /usr/local/bin/pip
COPY conda /usr/local/bin/
RUN echo 'never closed
SHELL ["powershell", "-Command"]
RUN Install-Module x
