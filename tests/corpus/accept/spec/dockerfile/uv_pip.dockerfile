FROM python:3.12-slim
RUN pip install uv==0.5.4
WORKDIR /srv
COPY pyproject.toml requirements.lock /srv/
RUN uv venv && uv pip sync requirements.lock
RUN uv pip install --system --no-cache --index-strategy unsafe-best-match -r pyproject.toml "httpx>=0.27" && uv cache clean
RUN uv tool install ruff --with tomli && uvx black --version
RUN uv add rich
