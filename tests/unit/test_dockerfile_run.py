"""What RUN lines install: what is read, what is harmless, and that nothing else is passed over."""

import pytest

from quarantine.errors import SpecError
from quarantine.model import EnvironmentSpec
from quarantine.spec import dockerfile


def read(text: str, **files: str) -> EnvironmentSpec:
    """The spec of a Dockerfile whose instructions follow a FROM; `r_txt` is the file `r.txt` of the context."""
    known = {name.replace("_", "."): content.encode() for name, content in files.items()}
    answer = dockerfile.read("Dockerfile", {"Dockerfile": f"FROM scratch\n{text}\n".encode(), **known}, "")
    assert isinstance(answer, EnvironmentSpec)
    return answer


def installs(text: str, **files: str) -> list[str]:
    """Everything that a Dockerfile asks of pip and conda, in its order."""
    asked: list[str] = []
    for part in read(text, **files).parts:
        asked += [f"{requirement.name}{requirement.specifier}" for requirement in part.requirements]
        asked += [f"{spec.name} {spec.version}".rstrip() for spec in (part.conda.specs if part.conda else ())]
    return asked


def unverifiable(text: str, **files: str) -> list[tuple[int | None, str, str]]:
    """What can't be verified, as line, text and reason."""
    return [(entry.location.line, entry.what, entry.why) for entry in read(text, **files).unverifiable]


def directives(text: str) -> list[tuple[str, str]]:
    """What would change where packages come from, of the file and of its parts."""
    return [(directive.option, directive.text) for leaf in read(text).leaves for directive in leaf.directives]


@pytest.mark.parametrize(
    "command",
    [
        "pip install a", "pip3 install a", "pip3.12 install a", "python -m pip install a", "python3.11 -u -m pip install a",
        "/opt/conda/bin/pip install a", ".venv/bin/pip install a", "sudo -H -u x pip install a", "env X=1 pip install a",
        "X=1 Y='2 3' pip install a", "time pip install a", "exec nice -n 5 nohup timeout -k 5 60 pip install a",
        "conda run -n e --no-capture-output pip install a", "micromamba run -p /x pip install a", "bash -c 'pip install a'",
        "bash -exo pipefail -c 'pip install a'", "sh -lc \"sh -c 'pip install a'\"", "true && pip install a",
        "false || pip install a", "x=1; pip install a", "pip install a | tee log", "yes | pip install a", "! pip install a",
        "pip install a &", "pip -q --no-input install a", "pip install --target /x -t/y --no-deps a", "pip install -- a",
        "pip download -d /x a", "pip wheel -w /x a", "uv pip install --system a", "uv --quiet pip install a", "pipx install a",
        "uv tool install a", "pip install \\\n  # why\n\n  a", "p''ip inst\"all\" a", "pip install ${X:-a} | cat",
    ],
)  # fmt: skip
def test_every_way_of_calling_pip_is_seen(command: str) -> None:
    """Prefixes, wrappers, other shells, operators and quotations hide no installation."""
    known = command if "${X" not in command else f"X= && {command}"

    assert installs(f"RUN {known}") == ["a"]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("conda install -y a", ["a"]),
        ("conda create -n x python=3.10 'a>=1'", ["python 3.10.*", "a >=1"]),
        ("mamba install -yqc conda-forge a", ["a"]),
        ("micromamba install -c x -n base a=1 b", ["a 1.*", "b"]),
        ("conda update -n base conda", ["conda"]),
        ("python -m conda install a", ["a"]),
    ],
)
def test_conda_commands_are_read(command: str, expected: list[str]) -> None:
    """The specs of conda's commands are those of an environment file."""
    assert installs(f"RUN {command}") == expected


@pytest.mark.parametrize(
    ("command", "channels"),
    [
        ("conda install a", ["defaults"]),
        ("conda install -c x -c y a", ["x", "y", "defaults"]),
        ("conda install --channel=x --override-channels a", ["x"]),
        ("micromamba install -c x,y a", ["x", "y"]),
        ("conda config --add channels z && conda install -c x a", ["x", "z"]),
        ("conda config --append channels https://h.example.org/z/ && mamba install a", ["https://h.example.org/z"]),
    ],
)
def test_channels_are_those_that_conda_would_take(command: str, channels: list[str]) -> None:
    """Channels of the command stand before configured ones; `defaults` is added where none is configured."""
    (part,) = read(f"RUN {command}").parts

    assert part.conda is not None
    assert [channel.name for channel in part.conda.channels] == channels


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("pip install -i https://u:canary@i.example.org/s a", [("--index-url", "--index-url https://i.example.org/s")]),
        ("pip install --extra-index https://i.example.org a", [("--extra-index-url", "--extra-index-url https://i.example.org")]),
        ("pip install --trusted-host=h.example.org a", [("--trusted-host", "--trusted-host h.example.org")]),
        ("pip install --index-url $INDEX a", [("--index-url", "--index-url $INDEX")]),
        ("uv pip install --default-index https://i.example.org a", [("--default-index", "--default-index https://i.example.org")]),
        ("pip install -r https://h.example.org/r.txt", [("remote-include", "https://h.example.org/r.txt")]),
        ("conda env create -f https://h.example.org/e.yml", [("remote-include", "https://h.example.org/e.yml")]),
        ("conda install -k a", [("--insecure", "--insecure")]),
        ("conda config --set ssl_verify false", [("conda config", "conda config --set ssl_verify false")]),
        ("pip config set global.index-url https://u:canary@i.example.org",
         [("pip config", "pip config set global.index-url https://i.example.org")]),
        ("PIP_INDEX_URL=https://i.example.org pip list", [("PIP_INDEX_URL", "PIP_INDEX_URL=https://i.example.org")]),
        ("env UV_INDEX=x pip list", [("UV_INDEX", "UV_INDEX=x")]),
        ("export PIP_CONFIG_FILE=/x", [("PIP_CONFIG_FILE", "PIP_CONFIG_FILE=/x")]),
        ("echo x > /etc/pip.conf", [("configuration-file", "/etc/pip.conf")]),
        ("cp my.conf ~/.condarc", [("configuration-file", "~/.condarc")]),
        ("conda config --set channel_priority strict", []),
        ("PIP_NO_CACHE_DIR=1 UV_LINK_MODE=copy pip list", []),
    ],
)  # fmt: skip
def test_what_changes_origins_is_a_directive(command: str, expected: list[tuple[str, str]]) -> None:
    """Options, variables and files that say where packages come from are for the policy to judge, without credentials."""
    assert directives(f"RUN {command}") == expected


@pytest.mark.parametrize(
    "command",
    [
        "echo pip install x", "mkdir -p /x && chmod 755 /x", "apt-get update -qq", "apt-get -o X=y clean", "conda clean -afy",
        "pip cache purge", "pip uninstall -y a", "find / -name '*.pyc' -delete", "find . -exec rm -f {} +", "rm -rf /x/*",
        ". /opt/venv/bin/activate", "source /opt/conda/etc/profile.d/conda.sh", "conda activate x", "python -m venv /x",
        "python --version", "useradd -m $USER", "test -f x || exit 1", '[ -n "$X" ]', "ln -sf /usr/bin/python3 /usr/bin/python",
        "cd /x", "set -eux", "command -v pip", "git --version", "cat a > b 2>&1", "uv venv", "uv cache clean", "true # pip install x",
    ],
)  # fmt: skip
def test_harmless_commands_say_nothing(command: str) -> None:
    """What installs nothing is neither a part nor anything to look at."""
    answer = read(f"RUN {command}")

    assert (answer.parts, answer.unverifiable, answer.directives) == ((), (), ())


@pytest.mark.parametrize(
    "command",
    [
        "apt-get install -y x", "apt-get upgrade", "yum install x", "apk add x", "curl https://h.example.org", "wget x", "git clone x",
        "bash x.sh", "./x", "sh", "python x.py", "python -c 'x'", "python setup.py install", "easy_install x", "npm i", "make",
        "R -e x", "cargo install x", "frobnicate", "$PIP install x", "eval pip install x", "source x.sh", "xargs pip install",
        "alias pip=x", "pip install $X", "pip install -r $X", "pip install --unknown x", "pip frob", "uv run x", "uvx x", "uv frob",
        "conda install --all", "conda build x", "conda install --frob x", "poetry install", "pipenv install", "pip install .",
        "pip install *.whl", "pip install --group x", "(pip install x)", "{ pip install x; }", "if x; then pip install y; fi",
        "while x; do y; done", "x() { pip install y; }", "echo $(pip install x)", "echo `pip install x`", "cat <(pip install x)",
        "echo 'x", "find . -exec pip install x ;", "find . -fprint x", "sudo -i", "sudo --chdir=/x pip install a", "sed -i s/a/b/e x",
        "awk x", "tar xf x", "printf -v pip x", "hash -p /evil pip", 'bash -c "$X"', "sh -c", "bash --rcfile x -c 'true'",
        "conda run --cwd /x pip install a", "python -m venv --upgrade-deps /x", "echo x > /usr/bin/pip", "cp x /usr/bin/pip3",
        "mv pip /usr/bin/", "tee /usr/local/bin/conda", "env -S 'pip install x'", "dpkg -i x.deb", "trap 'pip install x' EXIT",
        "uv sync", "uv add x", "conda-lock install", "micromamba install x", "python3 <<< 'x'", "chroot / pip install x",
        "pip install a{b,c}", "command pip$X install a", "source $X/activate",
    ],
)  # fmt: skip
def test_what_cannot_be_known_is_listed(command: str) -> None:
    """A command that is neither harmless nor read is never passed over."""
    found = unverifiable(f"RUN {command}")

    assert found
    assert all(line == 2 and what and why for line, what, why in found)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("pip install a=1", "Dockerfile:2: 'a=1' is not a requirement: did you mean 'a==1'?"),
        ("pip install 'a b'", "Dockerfile:2: 'a b' is not a requirement: what follows the name is no version specifier and no marker"),
        ("pip install 'a --hash=x'", "Dockerfile:2: 'a --hash=x' is not a requirement"),
        ("pip install -q", "Dockerfile:2: 'pip install -q' names nothing to install"),
        ("conda install a==", "Dockerfile:2: no version behind '=='"),
        ("conda install -c '' a", "Dockerfile:2: an empty channel: expected a name or a URL"),
    ],
)  # fmt: skip
def test_bad_requirements_are_refused(command: str, message: str) -> None:
    """A requirement or spec that its tool would refuse is a problem at its line."""
    with pytest.raises(SpecError) as caught:
        read(f"RUN {command}")

    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("COPY r.txt /x/\nRUN pip install -r /x/r.txt", None),
        ("COPY . /x\nRUN pip install -r /x/r.txt", None),
        ("COPY r* /x/\nRUN cd /x && pip install -r r.txt", None),
        ("WORKDIR /x\nWORKDIR y\nCOPY r.txt ./z\nRUN pip install -r /x/y/z", None),
        ("RUN --mount=type=bind,source=r.txt,target=/t pip install -r /t", None),
        ("COPY r.txt /\nRUN echo x >> r.txt\nRUN pip install -r r.txt", "the command at line 3 may write it"),
        ("COPY r.txt /\nRUN sed -i s/a/b/ r.txt\nRUN pip install -r r.txt", "the command at line 3 may write it"),
        ("COPY r.txt /\nRUN mv evil.txt /r.txt\nRUN pip install -r r.txt", "the command at line 3 may write it"),
        ("COPY r.txt /x/\nRUN tar xf y.tar -C /x\nRUN pip install -r /x/r.txt", "the command at line 3 may write it"),
        ("COPY r.txt /x/\nADD y.tar.gz /x/\nRUN pip install -r /x/r.txt", "line 3 unpacks an archive over it"),
        ("COPY r.txt /x/r.txt\nADD https://h.example.org/r.txt /x/\nRUN pip install -r /x/r.txt",
         "line 3 fetches it from elsewhere"),
        ("COPY r.txt /x/\nCOPY --from=i.example.org/i / /\nRUN pip install -r /x/r.txt",
         "it comes out of the image that line 3 names"),
        ("COPY r.txt /x/\nRUN --mount=type=secret,id=s,target=/x/r.txt pip install -r /x/r.txt",
         "a mount of type secret in line 3 is known only to the build"),
        ("COPY r.txt $D/\nRUN pip install -r /x/r.txt", "where line 2 puts its files isn't known"),
        ("COPY $F /x/\nRUN pip install -r /x/r.txt", "$F in line 2 isn't known"),
        ("COPY r.txt /x/\nRUN true || cd /x; pip install -r r.txt", "the folder that it is run in isn't known"),
        ("RUN pip install -r r.txt", "no COPY or ADD puts it there"),
    ],
)  # fmt: skip
def test_files_are_traced_to_the_context_or_listed(text: str, expected: str | None) -> None:
    """A requirements file is the context's where every step to it is known; else the line says which one isn't."""
    if expected is None:
        assert installs(text, r_txt="a==1\n") == ["a==1"]
        assert unverifiable(text, r_txt="a==1\n") == []
        return
    why = f"the file can't be traced to the build context: {expected}"

    assert why in [why for _, _, why in unverifiable(text, r_txt="a==1\n")]
    assert installs(text, r_txt="a==1\n") == []


def test_a_working_folder_that_is_the_images_own_is_one_place() -> None:
    """Without WORKDIR relative paths meet in the image's own folder, which an absolute one may be as well."""
    text = "FROM a\nCOPY r.txt .\n{}RUN pip install -r r.txt\n"
    files = {"r.txt": b"a==1\n"}
    plain = dockerfile.read("D", {"D": text.format("").encode(), **files}, "")
    other = dockerfile.read("D", {"D": text.format("COPY evil/ /srv\n").encode(), **files}, "")

    assert isinstance(plain, EnvironmentSpec)
    assert isinstance(other, EnvironmentSpec)
    assert ([len(plain.parts), len(plain.unverifiable)], [len(other.parts), len(other.unverifiable)]) == (
        [1, 0],
        [0, 1],
    )


def test_lines_are_those_of_the_words() -> None:
    """In a command over several lines, comments between them, each requirement has its own line."""
    (part,) = read("RUN pip install \\\n  a \\\n  # b\n\n  c==1 \\\n  d").parts

    assert [(str(r.name), r.location.line) for r in part.requirements] == [("a", 3), ("c", 6), ("d", 7)]


@pytest.mark.parametrize(
    ("shell", "run"),
    [
        ('["/bin/bash", "-o", "pipefail", "-c"]', "pip install a"),
        ('["conda", "run", "-n", "e", "/bin/bash", "-c"]', "pip install a"),
        ('["/bin/bash", "-c"]', '["pip", "install", "a"]'),
        ('["pip", "install"]', "a"),
        ('["/bin/sh", "-c", "pip install a"]', "anything"),
    ],
)
def test_the_shell_of_a_stage_gets_the_text(shell: str, run: str) -> None:
    """SHELL names the command that gets the text of a RUN, whatever that command is."""
    assert installs(f"SHELL {shell}\nRUN {run}") == ["a"]


@pytest.mark.parametrize("shell", ['["powershell", "-Command"]', '["bash", "x.sh"]', '["python", "-c"]'])
def test_a_shell_that_is_not_known_leaves_its_commands_unread(shell: str) -> None:
    """What another shell makes of a text isn't known."""
    assert [line for line, _, _ in unverifiable(f"SHELL {shell}\nRUN pip install a")] == [3]


@pytest.mark.parametrize(
    "command",
    [
        "frob --password canary", "frob --token=canary", "curl -u me:canary https://h.example.org", "frob X_API_KEY=canary",
        "SECRET=canary frob", "curl -H 'Authorization: Bearer canary' x", "curl https://me:canary@h.example.org/x?sig=canary",
        "frob canary0123456789abcdefgh", "frob --client-secret 'canary canary'", "pip install --index-url https://me:canary@x.example.org a",
        "conda install -c https://h.example.org/t/canary/c a", "git clone https://canary@h.example.org/x", "pip install git+ssh://me:canary@h/x",
        "wget --header='X-Token: canary' x", "export AWS_SECRET_ACCESS_KEY=canary && frob",
        "pip install 'https://u:canary@h.example.org/x y'",
    ],
)  # fmt: skip
def test_no_secret_is_kept(command: str) -> None:
    """Passwords, tokens and signatures of a command are in nothing that is kept of it."""
    assert "canary" not in str(read(f"RUN {command}"))
