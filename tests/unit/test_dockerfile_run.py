"""What RUN lines install: what is read, what is harmless, and that nothing else is passed over."""

import pytest

from quarantine.errors import SpecError
from quarantine.model import EnvironmentSpec, Needs
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
        ("COPY r.txt /x/\nRUN cd /x && pip install -r r.txt", None),
        ("COPY r* /x/\nRUN pip install -r /x/r.txt", "which files the pattern 'r*' in line 2 takes isn't known: name them"),
        ("WORKDIR /x\nWORKDIR y\nCOPY r.txt ./z\nRUN pip install -r /x/y/z", None),
        ("RUN --mount=type=bind,source=r.txt,target=/t pip install -r /t", None),
        ("COPY r.txt /\nRUN echo x >> r.txt\nRUN pip install -r r.txt", "the command at line 3 may write it"),
        ("COPY r.txt /\nRUN sed -i s/a/b/ r.txt\nRUN pip install -r r.txt", "the command at line 3 may write it"),
        ("COPY r.txt /\nRUN mv evil.txt /r.txt\nRUN pip install -r r.txt", "the command at line 3 may write it"),
        ("COPY r.txt /x/\nRUN tar xf y.tar -C /x\nRUN pip install -r /x/r.txt", "the command at line 3 may write it"),
        ("COPY r.txt /x/\nADD y.tar.gz /x/\nRUN pip install -r /x/r.txt", "line 3 may unpack an archive over it"),
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


@pytest.mark.parametrize(
    "text",
    [
        # builtins behind wrappers, and names of variables that only the build knows
        "RUN command export PIP_INDEX_URL=https://h.example.org && pip install a", "RUN command cd /x", "RUN builtin cd /x",
        "RUN export ${A:-PIP_INDEX_URL}=x && pip install a", "RUN env ${A:-PIP_INDEX_URL}=x pip install a",
        "ARG Z\nRUN export $Z && pip install a",
        # options of wrappers that aren't known
        "RUN env '-Spip install a'", "RUN env '-vSpip install a'", "RUN env --split='pip install a'", "RUN env -C/b pip install a",
        "RUN env --chd=/b pip install a", "RUN sudo -D/b pip install a", "RUN micromamba run --env X=y pip install a", "RUN env",
        "RUN time -o r.txt pip install a", "RUN sudo -u $U pip install a",
        # programs out of the context
        "WORKDIR /x\nCOPY . .\nRUN bin/test", "COPY . /x\nRUN /x/bin/true", "COPY . /x\nRUN cd /x && ./bin/pip install a",
        "COPY s /x/bin/activate\nRUN . /x/bin/activate", "RUN echo x > /tmp/activate && . /tmp/activate",
        # programs that are known for other options
        "RUN sort -o r.txt e.txt", "RUN sort --compress-program=/x y", "RUN uniq e.txt r.txt", "RUN hash -r -p /x ls", "RUN hash -rp /x ls",
        "RUN find . $ARGS", "RUN virtualenv --dow x", "RUN useradd -mk /x y", "RUN nvcc x", "RUN tree -o x", "RUN strip -o x y",
        "RUN uv venv --seed --index-url https://h.example.org", "RUN uv self update", "RUN uv version --bump patch", "RUN uv lock",
        "RUN uv export -o r.txt", "RUN uv pip compile r.in -o r.txt", "RUN conda env config vars set PIP_INDEX_URL=x",
        "RUN conda remove -c https://h.example.org a", "RUN conda export -f r.txt",
        # writes that aren't to a plain place
        "RUN echo x > /etc/pip$X.conf", "RUN echo x | tee /etc/pip.{conf,x}", "RUN mv /x /etc/pip.con*", "RUN echo x > /proc/self/cwd/r.txt",
        "RUN cp -t /etc /x/pip.conf", "RUN cp -vt /x y", "RUN cp --targ=/x y", "RUN mv /x/config /root/.config", "RUN mv /x /usr/bin/chmod",
        "RUN cp -r /x/tools/. /usr/local/bin/", "RUN cp -r /x /", "RUN echo x > /usr/bin/ls", "RUN echo x >> /etc/profile",
        "RUN echo x >> ~/.bashrc", "RUN echo x > /usr/lib/python3.11/sitecustomize.py", "RUN echo x > /etc/ld.so.preload",
        "RUN ln -sf /x/bin/pip3 /usr/local/bin/pip", "RUN touch /usr/lib/python3/dist-packages/x.pth",
        # copies and mounts over programs and settings
        "COPY s.sh /usr/bin/mkdir\nRUN mkdir /x", "COPY s.sh /bin/sh\nRUN true", "COPY bin/ /usr/local/bin/\nRUN true",
        "COPY config/ /etc/\nRUN true", "COPY config/ /root/.config/\nRUN true", "COPY root /\nRUN true", "COPY x $D/\nRUN true",
        "COPY x.pth /usr/lib/python3.11/site-packages/\nRUN true", "ADD x.tgz /\nRUN true",
        "RUN --mount=type=bind,source=bin,target=/usr/local/bin true", "RUN --mount=type=bind,source=c,target=/root/.config true",
        "COPY s /s\nFROM scratch AS b\nCOPY --from=0 /s /usr/bin/ls\nRUN true",
        # variables that lead there
        "COPY . /x\nENV PATH=/x/bin:$PATH\nRUN true", "ENV PATH /x/bin:$PATH\nCOPY . /x\nRUN true", "COPY . /x\nRUN true\nENV PYTHONPATH=/x\nRUN true",
        "COPY . /x\nENV D=/x LD_LIBRARY_PATH=$D/lib\nENV LD_LIBRARY_PATH=$D/lib\nRUN true", "ENV XDG_CONFIG_HOME=/x", "ENV LD_AUDIT=/x.so",
        "ENV PATH=/x:$PATH\nRUN echo x > /x/ls", "COPY . /x\nENV HOME=/x\nRUN true", "COPY . /x\nRUN PATH=/x/bin:$PATH ls",
        # projects, and settings of uv that lie in the folder
        "WORKDIR /x\nCOPY . .\nRUN uv pip install a", "WORKDIR /x/y\nCOPY . /x\nRUN uv pip install a", "RUN pip install .",
    ],
)  # fmt: skip
def test_what_could_change_a_command_is_listed(text: str) -> None:
    """Where a write, a copy, an option or a variable could make commands do something else, the Dockerfile is not known."""
    assert unverifiable(text)


@pytest.mark.parametrize(
    "text",
    [
        "COPY --from=i.example.org/uv /uv /uvx /bin/\nRUN true", "FROM i.example.org/i AS b\nFROM scratch\nCOPY --from=0 /usr/local /usr/local\nRUN true",
        "COPY app /app\nRUN mkdir /app/log && touch /app/log/x && cp /app/a /app/b && mv -f /app/b /app/c", "RUN ln -fs /usr/share/zoneinfo/UTC /etc/localtime",
        "ENV PATH=/opt/venv/bin:$PATH\nRUN python -m venv /opt/venv && /opt/venv/bin/pip list", "WORKDIR /x\nCOPY . .\nRUN uv pip install --no-config a",
        "RUN --mount=type=cache,target=/root/.cache/pip pip list", "RUN echo UTC > /etc/timezone && ls 2>/dev/null >&2", "RUN ls | sort -u | uniq -c",
        "COPY . /x\nRUN uv pip install a\nENV PATH=/x/bin:$PATH",
    ],
)  # fmt: skip
def test_ordinary_writes_are_not_listed(text: str) -> None:
    """A copy or a write to a folder of the project's own, or out of an image, changes no command."""
    assert unverifiable(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "echo x > /dev/../x/r.txt", "ln -s /x /d && echo x > /d/r.txt", "ln r.txt r2 && echo x >> r2", "cp /y/r.txt /x", "mv /y /x",
        "true; echo x | tee r.txt", "touch r.txt", "set -C; cat <<E > r.txt\nb\nE\ntrue",
    ],
)  # fmt: skip
def test_a_file_that_was_written_is_not_believed(text: str) -> None:
    """A requirements file is the context's only while nothing else may have written to it, by any of its names."""
    given = f"WORKDIR /x\nCOPY r.txt .\nRUN <<OUTER\n{text}\nOUTER\nRUN pip install -r r.txt"

    assert installs(given, r_txt="a==1\n") == []


@pytest.mark.parametrize(
    "text",
    [
        "COPY d* /x/", "ADD bund* /x/", "ADD bundle /x/", "COPY data /x/", "ADD other.txt /x/",
        "RUN --mount=type=bind,rw,source=r.txt,target=/x/r.txt echo x > /x/r.txt",
    ],
)  # fmt: skip
def test_what_may_be_a_folder_or_an_archive_may_hold_the_file(text: str) -> None:
    """A source that may be a folder, or an archive that ADD unpacks, may put another file over one that was copied."""
    given = f"WORKDIR /x\nCOPY r.txt .\n{text}\nRUN pip install -r r.txt"

    assert installs(given, r_txt="a==1\n", other_txt="\0\n") == []


def test_a_source_with_the_name_of_a_text_is_asked_for() -> None:
    """Whether it is a file, or a folder that holds another r.txt, is known once it was read."""
    text = b"FROM scratch\nCOPY r.txt /x/\nCOPY o.txt /x/\nRUN pip install -r /x/r.txt\n"
    answer = dockerfile.read("Dockerfile", {"Dockerfile": text, "r.txt": b"a==1\n"}, "")

    assert isinstance(answer, Needs)
    assert answer.paths == ("o.txt",)


def test_a_project_is_listed_however_often_it_is_read() -> None:
    """Its build backend runs in the build, whether or not another line has read its pyproject.toml."""
    text = "COPY pyproject.toml /x/\nRUN pip install /x\nRUN uv pip install --no-config -r /x/pyproject.toml"
    found = unverifiable(text, pyproject_toml='[project]\nname = "x"\ndependencies = ["a==1"]\n')

    assert [line for line, _, why in found if "build backend" in why] == [3]


def test_the_settings_of_uv_in_its_folder_are_judged() -> None:
    """An index in the pyproject.toml of the folder that uv runs in is one that it obeys."""
    project = '[project]\nname = "x"\n[[tool.uv.index]]\nurl = "https://h.example.org/simple"\ndefault = true\n'
    text = "WORKDIR /x\nCOPY pyproject.toml ./\nRUN uv pip install a"

    assert [directive.location.file for directive in read(text, pyproject_toml=project).directives] == [
        "pyproject.toml"
    ]


def test_commands_of_a_pipeline_do_not_see_each_others_variables() -> None:
    """Each of them has a shell of its own."""
    assert installs("ENV A=a\nRUN A=b | pip install $A") == ["a"]


def test_pip_installs_where_it_is_asked_for_its_version_behind_the_command() -> None:
    """`pip install --version a` installs a."""
    assert installs("RUN pip install --version a") == ["a"]
