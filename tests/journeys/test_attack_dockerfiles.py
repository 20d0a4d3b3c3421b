"""Attacks through a Dockerfile: each through the command line, none with its way."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from house import House
from registries import docker_registry, made_image

ALLOW = "version: 1\nallow: [{name: azureml/*, owner: ml, reason: ours, added: 2026-01-01, expires: 2027-06-01}]\n"
MAR = "{name: mar, type: oci, url: 'https://mcr.microsoft.com', mode: curated, entries: mar.yaml}"
BASE = "mcr.microsoft.com/azureml/base:1"


@pytest.fixture
def mar(home: House, tmp_path: Path) -> Iterator[House]:
    """A project whose only registry has one allowed image, beside an index with one harmless package."""
    with docker_registry(tmp_path / "registry") as registry:
        registry.push("azureml/base", made_image(), "1")
        home.others = [MAR]
        home.lists = {"mar.yaml": ALLOW}
        home.registries = {"mcr.microsoft.com": registry.url}
        home.index.add("good", "1.0")
        home.advise()
        yield home


# --- images -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "ARG B=evil\nFROM $B\n",
        "ARG B=ev\nFROM ${B}il\n",
        "FROM ${B:-evil}\n",
        'ARG A=evil\nARG B=$A\nFROM "$B"\n',
        "ARG B=evil\nFROM mcr.microsoft.com/azureml/base:1\nARG B=mcr.microsoft.com/azureml/base:1\nFROM $B\n",
        "# escape=`\nARG B=evil\nFROM `\n$B\n",
    ],
)
def test_an_argument_in_from_is_the_image_that_it_stands_for(mar: House, text: str) -> None:
    """`ARG B=evil`, `FROM $B`: the image is named and denied, and an ARG of a stage changes no FROM."""
    mar.write("Dockerfile", text)

    ran = mar.check("Dockerfile")

    assert ran.status == 1, ran.err
    assert ran.rules("docker.io/library/evil") == ["repository"]


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("ARG B\nFROM $B\n", 2, "FROM $B"),
        ("FROM mcr.microsoft.com/azureml/base:1\nARG B=evil\nFROM $B\n", 3, "FROM $B"),
        ("ARG B\nFROM mcr.microsoft.com/azureml/base:${B}\n", 2, "FROM mcr.microsoft.com/azureml/base:${B}"),
        ("FROM mcr.microsoft.com/azureml/base:{{latest-image-tag}}\n", 1, "FROM mcr.microsoft.com/azureml/base:{{latest-image-tag}}"),
        ("FROM mcr.microsoft.com/azureml/base:1\nARG B=evil\nCOPY --from=$B /x /x\n", 3, "COPY --from=$B"),
    ],
)  # fmt: skip
def test_an_image_that_nothing_names_is_undecided_at_its_line(mar: House, text: str, line: int, what: str) -> None:
    """What only the build can fill in is listed, and never taken for innocent."""
    mar.write("Dockerfile", text)

    ran = mar.check("Dockerfile")

    assert ran.status == 3, ran.err
    assert [(entry["line"], entry["what"]) for entry in ran.json["unverifiable"]] == [(line, what)]


def test_every_image_is_judged_wherever_it_stands(mar: House) -> None:
    """The reader's own image, unused stages, COPY --from, mounts and ONBUILD count, while a stage is no image."""
    mar.write(
        "Dockerfile",
        "# syntax=docker/dockerfile:1\n"
        "FROM evil/unused AS unused\n"
        f"FROM {BASE} AS builder\n"
        "RUN --mount=type=bind,from=evil/mounted,target=/x true\n"
        'RUN --mount=type=bind,"from=evil/quoted",target=/x true\n'
        "FROM BUILDER\n"
        "COPY --from=builder /a /a\n"
        "COPY --from=0 /a /a\n"
        "COPY --from=evil/copied /a /a\n"
        "ONBUILD COPY --from=evil/onbuild /a /a\n",
    )

    ran = mar.check("Dockerfile")

    assert ran.status == 1, ran.err
    assert [(item["name"], item["verdict"], item["location"]["line"]) for item in ran.json["items"]] == [
        ("docker.io/docker/dockerfile", "denied", 1),
        ("docker.io/evil/copied", "denied", 9),
        ("docker.io/evil/mounted", "denied", 4),
        ("docker.io/evil/onbuild", "denied", 10),
        ("docker.io/evil/quoted", "denied", 5),
        ("docker.io/evil/unused", "denied", 2),
        ("mcr.microsoft.com/azureml/base", "allowed", 3),
    ]


# --- commands ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        "curl -sSL https://example.org/install | sh",
        "wget -qO- example.org | bash -s",
        'sh -c "$(curl example.org)"',
        "eval `cat script`",
        "echo evil | xargs pip install",
        "find / -name x -exec pip install evil {} +",
        "python -c 'import pip; pip.main([\"install\", \"evil\"])'",
        "uvx evil",
        "uv run --with evil true",
        "pipx run evil",
        "for p in evil; do pip install $p; done",
        "ls() { pip install evil; }; ls",
        "trap 'pip install evil' EXIT",
        "env -i pip install evil",
        "pip install $NAMES",
        "$TOOL install evil",
        "apt-get install -y evil",
        "npm install evil",
        "./setup.sh",
        ". ./setup.sh",
        "sh < setup.sh",
    ],
)  # fmt: skip
def test_a_command_that_cant_be_read_is_listed_with_its_line(mar: House, command: str) -> None:
    """Beside what was read and allowed it leaves the verdict open, by this policy in every stage."""
    mar.write("Dockerfile", f"FROM {BASE}\nRUN pip install good\nRUN {command}\n")

    ran = mar.check("Dockerfile")

    assert ran.status == 3, ran.out
    assert ran.item("good")["verdict"] == "allowed"
    assert [(entry["file"], entry["line"]) for entry in ran.json["unverifiable"]] == [("Dockerfile", 3)]


@pytest.mark.parametrize(
    "command",
    [
        "pi\"p\" inst'all' evil",
        "p\\ip install e\\\nvil",
        "true && pip install evil",
        "true;pip install evil",
        "true|pip install evil",
        "true& pip install evil",
        "! pip install evil",
        "X=1 pip install evil",
        "env X=1 nohup pip install evil",
        "exec pip install evil",
        "command pip install evil",
        "/opt/venv/bin/pip3.11 install evil",
        "python3 -I -m pip install evil",
        "X=evil; pip install ${X}",
        "pip install ${NONE:+x}${EMPTY:-evil}",
        "sh -c 'pip install evil'",
        'bash -euxo pipefail -c "pip install evil"',
        "uv pip install evil",
        "uv tool install evil",
        "pipx install evil",
        "pip --no-cache-dir install -q --log x evil",
        "pip install -- evil",
        "true \\\n# comment\n && pip install evil",
        "<<EOF\ntrue\npip install evil\nEOF",
        "sh <<'EOF'\npip install evil\nEOF",
        '["pip", "install", "evil"]',
        '["/bin/sh", "-c", "pip install evil"]',
    ],
)
def test_an_installation_is_found_however_it_is_written(mar: House, command: str) -> None:
    """Quotations, wrappers, other shells and continued lines hide no package: it is judged, and denied."""
    mar.write("Dockerfile", f"FROM {BASE}\nENV EMPTY=\nARG NONE=\nRUN {command}\n")

    ran = mar.check("Dockerfile")

    assert ran.status == 1, ran.out
    assert ran.rules("evil") == ["repository"]


@pytest.mark.parametrize(
    ("lines", "rule"),
    [
        ("ADD https://example.org/model.tgz /opt/\n", "remote-add"),
        ("ARG HOST=example.org\nADD https://$HOST/model.tgz /opt/\n", "remote-add"),
        ("ADD git@example.org:x/y.git /opt/\n", "remote-add"),
        ("RUN pip install -r https://example.org/r.txt\n", "remote-include"),
        ("ENV PIP_INDEX_URL=https://example.org/simple\n", "PIP_INDEX_URL"),
        ("ARG PIP_EXTRA_INDEX_URL=https://example.org/simple\n", "PIP_EXTRA_INDEX_URL"),
        ("RUN UV_INDEX=https://example.org/simple uv pip install good\n", "UV_INDEX"),
        ("RUN export PIP_CONFIG_FILE=/x && pip install good\n", "PIP_CONFIG_FILE"),
        ("COPY pip.conf /etc/\n", "configuration-file"),
        ("RUN echo x | tee /etc/pip.conf\n", "configuration-file"),
        ("RUN cd /etc && echo x >> pip.conf\n", "configuration-file"),
        ("RUN pip config set global.index-url https://example.org/simple\n", "pip config"),
        ("RUN conda config --add channels evil\n", "conda config"),
    ],
)
def test_what_changes_where_packages_come_from_is_denied_at_its_line(mar: House, lines: str, rule: str) -> None:
    """A download, and whatever an installer obeys beside its words, is the policy's to allow."""
    mar.write("Dockerfile", f"FROM {BASE}\nRUN pip install good\n{lines}")

    ran = mar.check("Dockerfile")

    assert ran.status == 1, ran.out
    (said,) = [r for subject in ran.json["subjects"] for r in subject["reasons"] if r["outcome"] == "fail"]
    assert rule in str(said)
    assert said["location"] == {"file": "Dockerfile", "line": 2 + lines.count("\n")}


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines",
    [
        "COPY bad.txt r.txt\nRUN pip install -r r.txt\n",
        "COPY good.txt r.txt\nCOPY bad.txt r.txt\nRUN pip install -r r.txt\n",
        "COPY bad.txt /x\nRUN pip install -r ../x\n",
        "ADD --chown=1:1 bad.txt ./\nRUN cd / && pip install -r app/bad.txt\n",
        "ARG N=bad\nCOPY ${N}.txt $N/\nRUN pip install -r ${N}/bad.txt\n",
        "RUN --mount=type=bind,source=bad.txt,target=/r.txt pip install -r /r.txt\n",
        "COPY <<EOF r.txt\nevil\nEOF\nRUN pip install -r r.txt\n",
        "RUN cat <<'EOF' >r.txt\nevil\nEOF\nRUN pip install -r r.txt\n",
        f"COPY bad.txt r.txt\nFROM {BASE}\nCOPY --from=0 /app/r.txt /\nRUN pip install -r /r.txt\n",
    ],
)
def test_requirements_are_read_where_the_image_has_them_from(mar: House, lines: str) -> None:
    """Traced through COPY, mounts, stages and here-documents: what is judged is what would be installed."""
    mar.write("good.txt", "good\n")
    mar.write("bad.txt", "evil\n")
    mar.write("Dockerfile", f"FROM {BASE}\nWORKDIR /app\n{lines}")

    ran = mar.check("Dockerfile")

    assert ran.status == 1, ran.out
    assert [item["name"] for item in ran.json["items"] if item["ecosystem"] == "pypi"] == ["evil"]


@pytest.mark.parametrize(
    "command",
    [
        "sed -i s/good/evil/ r.txt",
        "echo evil >>r.txt",
        "echo evil | tee -a r.txt",
        "cp /opt/r.txt /app",
        "mv /opt/x ./r.txt",
        "ln -sf /opt/r.txt .",
        "tar xf /opt/r.tar -C /app",
    ],
)
def test_requirements_that_a_command_may_have_changed_are_not_taken_for_the_contexts(mar: House, command: str) -> None:
    """The file of the context is no evidence for what stands in the image by then."""
    mar.write("r.txt", "good\n")
    mar.write("Dockerfile", f"FROM {BASE}\nWORKDIR /app\nCOPY r.txt .\nRUN {command}\nRUN pip install -r r.txt\n")

    ran = mar.check("Dockerfile")

    assert ran.status == 3, ran.out
    untraced = "the file can't be traced to the build context"
    listed = dict(ran.json["unverifiable"][-1])
    assert listed.pop("why") in (
        f"{untraced}: the command at line 4 may write it",
        f"{untraced}: line 4 gives it, or a folder above it, another name",
    )
    assert listed == {
        "file": "Dockerfile",
        "line": 5,
        "what": "pip install ... r.txt",
    }


@pytest.mark.parametrize(
    "lines",
    [
        "RUN echo hi &>/tmp/l pip install evil\n",
        "ENV ${A:-PIP_INDEX_URL}=https://example.org/simple\nRUN pip install good\n",
        "ARG ${A:-PIP_INDEX_URL}=https://example.org/simple\nRUN pip install good\n",
        "RUN cat <<CMD\nRUN pip install evil\nCMD\n",
        "RUN cat <<RUN\nRUN pip install evil\nRUN\n",
        "RUN cat <<'#'\nRUN pip install evil\n#\n",
        "RUN cat <<'USER root'\nRUN pip install evil\nUSER root\n",
        "COPY good.txt /a/r.txt\nCOPY bad.txt /b/r.txt\nWORKDIR /b\nRUN cd /a & pip install -r r.txt\n",
        "COPY good.txt /a/r.txt\nCOPY bad.txt /b/r.txt\nWORKDIR /b\nRUN cd /a/no/.. ; pip install -r r.txt\n",
        "COPY good.txt /a/r.txt\nCOPY bad.txt /b/r.txt\nENV PWD=/a\nWORKDIR /b\nRUN pip install -r $PWD/r.txt\n",
        "COPY good.txt s/r.txt\nCOPY bad.txt /b/s/r.txt\nENV CDPATH=/b\nRUN cd s && pip install -r r.txt\n",
        "RUN P=evil; P=good & pip install $P\n",
        "RUN X=good; X=evil : ; pip install $X\n",
        "RUN X=1; unset X; pip install good${X-evil}\n",
        "RUN X=evil; unset -f X; pip install good$X\n",
        "RUN X=; : ${X:=evil}; pip install good$X\n",
        "RUN IFS=-; P=good-evil; pip install $P\n",
        "RUN P=evil; P=good time !; pip install $P\n",
        "COPY bad.txt r.txt\nRUN true || cat <<X >/app/r.txt\ngood\nX\nRUN pip install -r r.txt\n",
        "COPY bad.txt r.txt\nRUN set -C; cat <<X >r.txt; true\ngood\nX\nRUN pip install -r r.txt\n",
        "COPY bad.txt e.txt\nRUN cat <<X </app/e.txt >r.txt\ngood\nX\nRUN pip install -r r.txt\n",
        "FROM x AS one\nARG X=good\nFROM one\nRUN pip install ${X:-evil}\n",
        "ARG X=evil\nARG X\nRUN pip install ${X:-good}\n",
        'SHELL ["/bin/bash", "-c"]\nRUN x=\'$(pip install evil)\'; echo "${x@P}"\n',
        'SHELL ["/bin/bash", "-c"]\nRUN y=\'a[$(pip install evil)]\'; echo ${x:y}\n',
        'SHELL ["/bin/bash", "-c"]\nRUN y=\'a[$(pip install evil)]\'; echo $[y]\n',
        'SHELL ["/bin/bash", "-c"]\nRUN test -v \'a[$(pip install evil)]\'\n',
        'SHELL ["/bin/bash", "-c"]\nRUN unset \'a[$(pip install evil)]\'\n',
        'SHELL ["/bin/bash", "-c"]\nRUN PS4=\'$(pip install evil)\'; set -x; true\n',
        "RUN echo ${ pip install evil; }\n",
        "ARG URL\nADD $URL /tmp/\n",
        "RUN touch goods && pip install good[s]\n",
        "CMD pip install evil\n",
    ],
)
def test_what_two_shells_or_builders_read_differently_is_never_allowed(mar: House, lines: str) -> None:
    """Where one of them would install something else than what was read, the verdict stays open."""
    mar.write("good.txt", "good\n")
    mar.write("bad.txt", "evil\n")
    mar.write("Dockerfile", f"FROM {BASE}\nWORKDIR /app\n{lines}")

    ran = mar.check("Dockerfile")

    assert ran.status in {1, 3}, ran.out
    assert ran.json["unverifiable"]


@pytest.mark.parametrize(
    "lines",
    [
        "RUN 3<<EOF\npip install evil\nEOF\n",
        "RUN <<'E F'\npip install evil\nE F\n",
        'RUN <<E"O"F\npip install evil\nEOF\n',
        "RUN <<-EOF\n\tcat <<X\n\tX\n\tpip install evil\nEOF\n",
        "COPY 3<<EOF /app/r.txt\nevil\nEOF\nRUN pip install -r r.txt\n",
        'COPY <<E"O"F /app/r.txt\nevil\nEOF\nRUN pip install -r r.txt\n',
    ],
)
def test_a_here_document_is_read_however_its_end_is_written(mar: House, lines: str) -> None:
    """What BuildKit runs, or copies, is what is judged."""
    mar.write("3<<EOF", "good\n")
    mar.write('<<E"O"F', "good\n")
    mar.write("Dockerfile", f"FROM {BASE}\nWORKDIR /app\n{lines}")

    ran = mar.check("Dockerfile")

    assert ran.status == 1, ran.out
    assert ran.rules("evil") == ["repository"]


def test_a_setting_of_installers_that_is_declared_again_is_denied(mar: House) -> None:
    """An ARG before FROM comes into a stage where it is named, which is where it counts."""
    mar.write(
        "Dockerfile", f"ARG PIP_INDEX_URL=https://example.org\nFROM {BASE}\nARG PIP_INDEX_URL\nRUN pip install good\n"
    )

    ran = mar.check("Dockerfile")

    assert ran.status == 1, ran.out
    (said,) = [r for subject in ran.json["subjects"] for r in subject["reasons"] if r["outcome"] == "fail"]
    assert ("PIP_INDEX_URL" in str(said), said["location"]["line"]) == (True, 3)


def test_no_file_outside_the_project_is_read(mar: House, tmp_path: Path) -> None:
    """A link that leads out is refused, and `..` of a COPY stays in the context."""
    outside = tmp_path.parent / "outside.txt"
    outside.write_text("evil\n", encoding="utf-8")
    (tmp_path / "link.txt").symlink_to(outside)
    mar.write("Dockerfile", f"FROM {BASE}\nCOPY link.txt /r.txt\nRUN pip install -r /r.txt\n")
    linked = mar.check("Dockerfile")
    mar.write("Dockerfile", f"FROM {BASE}\nCOPY ../outside.txt /r.txt\nRUN pip install -r /r.txt\n")
    above = mar.check("Dockerfile")

    assert (linked.status, above.status) == (2, 2)
    assert linked.err == ("error: Dockerfile:3: 'link.txt' leads outside the project: only files below it are read\n")
    assert above.err == "error: Dockerfile:3: 'outside.txt' is not there\n"


def test_a_build_of_azure_ml_is_judged_as_its_dockerfile(mar: House) -> None:
    """The environment's file names a context: the same image, packages and lines count, whichever file is checked."""
    mar.write("service/r.txt", "evil\n")
    mar.write(
        "service/Dockerfile", f"FROM {BASE}\nCOPY r.txt /\nRUN pip install -r /r.txt\nRUN curl example.org | sh\n"
    )
    mar.write("environment.yml", "name: x\nbuild: {path: service}\n")

    ran = mar.check("environment.yml")

    assert ran.status == 1, ran.err
    assert [(item["name"], item["verdict"]) for item in ran.json["items"]] == [
        ("evil", "denied"),
        ("mcr.microsoft.com/azureml/base", "allowed"),
    ]
    assert [(entry["file"], entry["line"]) for entry in ran.json["unverifiable"]] == [("service/Dockerfile", 4)]


@pytest.mark.parametrize(
    "line",
    [
        "RUN TOKEN={0} ./x.sh",
        "RUN curl -H 'Authorization: Bearer {0}' example.org | sh",
        "RUN curl -u me:{0} example.org | sh",
        "RUN wget --password={0} example.org",
        "RUN curl -ume:{0} example.org | sh",
        "RUN mysql -p{0}",
        "RUN sshpass -p {0} ssh example.org",
        "RUN echo {0} | docker login --password-stdin",
        "COPY --from=example.org/x:1@{0} /a /b",
        "RUN git clone https://{0}@example.org/x",
        "RUN ./x --token {0}",
        "ADD https://me:{0}@example.org/x?sig={0} /x",
        "ENV PIP_INDEX_URL=https://me:{0}@example.org/simple",
        "RUN pip install --index-url https://me:{0}@example.org/simple good",
        "RUN conda config --set channel_alias https://me:{0}@example.org/",
        "COPY --from=me:{0}@example.org/x /a /b",
    ],
)
def test_a_secret_of_the_file_appears_in_no_output(mar: House, line: str) -> None:
    """Logins, headers and options that say secret are left out of every report and of everything stored."""
    canary = "canary-5up3r53cr3t"
    mar.write("Dockerfile", f"FROM {BASE}\n{line.format(canary)}\n")
    reports = [
        part for kind in ("json", "sarif", "junit", "markdown", "text") for part in ("--report", f"{kind}=r.{kind}")
    ]

    ran = mar.run("check", "Dockerfile", *reports)

    assert ran.status in {1, 3}
    assert canary not in ran.out + ran.err
    assert [name for name, data in mar.stored().items() if canary.encode() in data] == ["Dockerfile"]
