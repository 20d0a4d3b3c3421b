FROM python:3.11
ENV API_TOKEN=canary GITHUB=ghp_canarycanarycanarycanary12
RUN login --password canary --token=canary -u me:canary https://me:canary@example.org/x?sig=canary#canary
RUN AWS_SECRET_ACCESS_KEY=canary PASSWORD="canary canary" frobnicate x && curl -H "Authorization: Basic canary"
RUN curl -H 'X-Auth: abcdefghij0123456789canary' https://example.org
RUN pip install --index-url https://me:canary@index.example.org/simple a==1 "b @ https://me:canary@files.example.org/b-1.tar.gz"
