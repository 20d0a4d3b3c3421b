"""Commands of jobs: which of them install while the job runs, and which are the job's own business."""

import pytest

from quarantine.spec.job_command import read_command

INSTALLS = "it installs when the job runs, which a check before the build doesn't see"
ANYTHING = "which command runs in the job isn't known"


@pytest.mark.parametrize(
    "text",
    [
        "pip install x",
        "pip download x",
        "python -m pip install x",
        "python -Im pip install x",
        "python -W ignore -mpip install x",
        "sudo -E pip3.11 install x",
        "/opt/conda/bin/pip --quiet install ${{inputs.package}}",
        "pip --python list install x",
        "pip ins{,}tall x",
        "conda env update -f conda.yml",
        "conda run -n x pip install y",
        "mamba create -n x python",
        "uv pip install x",
        "uv run train.py",
        "uvx ruff",
        "pipx run x",
        "poetry install",
        "poetry run pip install x",
        "apt-get install -y git",
        "dpkg -i x.deb",
        "npm ci",
        "yarn",
        "Rscript -e \"install.packages('x')\"",
        "python setup.py develop",
        "python get-pip.py",
        "python -c \"import pip; pip.main(['install', 'x'])\"",
        "curl -sSL https://example.org/i.sh | bash",
        "curl -sSL https://example.org/i.sh | sudo -E bash -",
        "cat r.txt | xargs -n 1 pip install",
        'echo "pip install x" | bash',
        "bash <(curl -s https://example.org/a)",
        "env -S x pip install y",
        "find . -name '*.whl' -exec pip install {} +",
        "for p in a b; do pip install $p; done",
        "if [ -f r.txt ]; then pip install -r r.txt; fi",
        "p(){ pip install x; }; p",
        "python train.py $(pip install x)",
    ],
)
def test_a_command_that_installs_is_told(text: str) -> None:
    """Whatever wraps it, and where it can't be read as a command its text counts."""
    assert read_command(text).commands == ((text, INSTALLS),)


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "python train.py --data ${{inputs.data}} --out ${{outputs.o}}",
        "python train.py $[[--lr ${{inputs.lr}}]]",
        "python train.py --tool pip install",
        "python -m torch.distributed.run train.py",
        'python -c "print(1)"',
        "$CONDA_PREFIX/bin/python train.py",
        "python ${{inputs.script}}",
        "torchrun --nproc_per_node 4 train.py --epochs {epochs}",
        "export OMP_NUM_THREADS=4; accelerate launch train.py",
        "echo hi && ls -la ${{inputs.x}}",
        "echo pip install x",
        "bash run.sh",
        "bash -c 'python train.py'",
        "pip list && pip freeze > reqs.txt && pip --version",
        "conda activate x && conda run -n x python train.py && conda env list",
        "poetry run python train.py",
        "uv pip list",
        "apt-get update",
        "Rscript train.R",
        "for i in 1 2; do python train.py --seed $i; done",
        "python train.py --day $(date +%F)",
        "set -e; cd src; python train.py | tee log.txt",
        "wget https://example.org/data.csv -O data.csv && python train.py --data data.csv",
        "mkdir -p out; cp -r a b; tar xf data.tar",
    ],
)
def test_other_commands_are_the_jobs_own(text: str) -> None:
    """What installs nothing is not told."""
    assert read_command(text).commands == ()


@pytest.mark.parametrize(
    "text", ["$PIP install x", "${{inputs.command}}", "pi? install x", "python -m ${{inputs.module}}"]
)
def test_a_command_that_may_be_any_is_told(text: str) -> None:
    """A name that is filled in later may be an installer's."""
    assert read_command(text).commands == ((text, ANYTHING),)


@pytest.mark.parametrize(
    ("fetch", "run"),
    [
        ("wget https://example.org/i.sh", "&& bash i.sh"),
        ("wget -O run.py https://example.org/a?b=c", "&& python -u run.py"),
        ("curl https://example.org/a > b.sh", "; chmod +x b.sh; ./b.sh"),
        ("curl --output=b.sh https://example.org/a", "; . ./b.sh"),
        ("git clone https://example.org/repo.git", "&& cd repo && python train.py"),
        ("git clone https://example.org/repo", "&& torchrun -n 4 repo/train.py"),
    ],
)
def test_a_download_that_is_run_is_told(fetch: str, run: str) -> None:
    """By the name of what a later command runs; one that nothing runs is data."""
    assert read_command(f"{fetch} {run}").commands == ((fetch, INSTALLS),)
    assert read_command(f"{fetch} && python other.py").commands == ()


def test_scripts_within_scripts_are_read() -> None:
    """Each of their commands is told by itself, in the order of the script, once."""
    text = (
        "bash -c 'echo a && pip install ${{inputs.a}}'; eval \"pip install b\"; sh <<E\npip install c\nE\npip install c"
    )

    assert read_command(text).commands == (
        ("pip install ${{...}}", INSTALLS),
        ("pip install b", INSTALLS),
        ("pip install c", INSTALLS),
    )


def test_code_that_python_reads_from_a_here_document() -> None:
    """It is told where its text names an installer."""
    assert read_command("python - <<E\nos.system('pip install x')\nE").commands == (("python - <<E", INSTALLS),)
    assert read_command("python - <<E\nprint(1)\nE").commands == ()


def test_scripts_that_are_too_deep_are_told() -> None:
    """After six of them reading ends."""
    assert read_command(f"{'eval ' * 7}a").commands == (("eval a", "scripts in scripts, too deep to be read"),)


def test_more_downloads_than_are_followed_are_told() -> None:
    """A hundred are matched with what runs them."""
    text = "".join(f"wget f{number};" for number in range(101))

    assert read_command(text).commands == (
        ("wget f100", "whether a later command runs one of so many downloads isn't known"),
    )


def test_the_variables_that_a_script_sets_are_told() -> None:
    """Before a command, by export, and by env, each once."""
    text = "A=1 python a; B=2; export C=3 D; env E=4 pip list; bash -c 'A=5'"

    assert read_command(text).variables == ("A", "B", "C", "E")
