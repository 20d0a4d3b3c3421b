"""The options of `pip install`, `uv pip install`, `uv add`, `uv tool install` and `uv sync`, and what each of them does.

As of pip 26 and uv 0.13. An option that isn't here leaves its command unread.
"""

from quarantine.spec.dockerfile_install import Kind

__all__ = ["PIP_INSTALL", "PIP_SHORT", "UV_INSTALL", "UV_SHORT", "UV_SYNC"]

_SHARED = {
    "--requirement": Kind.FILE,
    "--constraint": Kind.CONSTRAINTS,
    "--editable": Kind.EDITABLE,
    "--index-url": Kind.LINE,
    "--extra-index-url": Kind.LINE,
    "--find-links": Kind.LINE,
    "--no-binary": Kind.LINE,
    "--only-binary": Kind.LINE,
    "--config-settings": Kind.LINE,
    "--trusted-host": Kind.LINE,
    "--no-index": Kind.LINE_FLAG,
    "--pre": Kind.LINE_FLAG,
    "--require-hashes": Kind.LINE_FLAG,
    **dict.fromkeys(
        ("--no-deps", "--dry-run", "--user", "--upgrade", "--no-build-isolation", "--break-system-packages", "--verbose",
         "--quiet", "--help", "--version", "--offline"),
        Kind.FLAG,
    ),
    **dict.fromkeys(("--target", "--prefix", "--keyring-provider", "--cache-dir", "--python"), Kind.VALUE),
    "--python-version": Kind.JUDGED,
    "--cert": Kind.JUDGED,
    "--group": Kind.UNREAD,
}  # fmt: skip

PIP_INSTALL = _SHARED | {
    "--global-option": Kind.LINE,
    "--use-feature": Kind.LINE,
    "--prefer-binary": Kind.LINE_FLAG,
    **dict.fromkeys(
        ("--no-dependencies", "--force-reinstall", "--ignore-installed", "--use-pep517", "--no-use-pep517",
         "--check-build-dependencies", "--compile", "--no-compile", "--no-warn-script-location", "--no-warn-conflicts",
         "--no-clean", "--debug", "--isolated", "--require-virtualenv", "--no-input", "--no-cache-dir",
         "--disable-pip-version-check", "--no-color", "--no-python-version-warning"),
        Kind.FLAG,
    ),
    **dict.fromkeys(
        ("--root", "--src", "--upgrade-strategy", "--progress-bar", "--root-user-action", "--retries",
         "--timeout", "--exists-action", "--client-cert", "--dest", "--wheel-dir", "--build", "--build-constraint",
         "--uploaded-prior-to", "--only-final"),
        Kind.VALUE,
    ),
    **dict.fromkeys(("--platform", "--implementation", "--abi", "--proxy", "--use-deprecated", "--all-releases"), Kind.JUDGED),
    "--ignore-requires-python": Kind.JUDGED_FLAG,
    "--process-dependency-links": Kind.JUDGED_FLAG,
    **dict.fromkeys(("--install-option", "--requirements-from-script", "--build-option", "--report", "--log"), Kind.UNREAD),
}  # fmt: skip
PIP_SHORT = {
    "r": "--requirement", "c": "--constraint", "e": "--editable", "t": "--target", "U": "--upgrade",
    "I": "--ignore-installed", "C": "--config-settings", "i": "--index-url", "f": "--find-links", "h": "--help",
    "v": "--verbose", "V": "--version", "q": "--quiet", "d": "--dest", "w": "--wheel-dir", "b": "--build",
}  # fmt: skip

UV_INSTALL = _SHARED | {
    "--requirements": Kind.FILE,
    "--with-requirements": Kind.FILE,
    "--constraints": Kind.CONSTRAINTS,
    "--with": Kind.EXTRA,
    "--config-setting": Kind.LINE,
    "--with-editable": Kind.EDITABLE,
    **dict.fromkeys(
        ("--no-editable", "--all-extras", "--system", "--no-break-system-packages", "--no-build", "--exact", "--strict",
         "--check", "--reinstall", "--compile-bytecode", "--no-compile-bytecode", "--no-cache", "--no-cache-dir", "--refresh",
         "--managed-python", "--no-managed-python", "--no-python-downloads", "--no-progress", "--no-config", "--require-build-hashes",
         "--verify-hashes", "--allow-empty-requirements", "--no-allow-empty-requirements", "--force", "--lfs", "--dev",
         "--raw", "--no-sync", "--locked", "--frozen", "--active", "--workspace", "--no-workspace", "--no-install-project",
         "--no-install-workspace", "--no-install-local", "--no-dev", "--only-dev", "--no-default-groups", "--all-groups",
         "--inexact", "--all-packages", "--native-tls", "--system-certs", "--preview", "--no-preview"),
        Kind.FLAG,
    ),
    **dict.fromkeys(
        ("--no-editable-package", "--excludes", "--build-constraints", "--build-constraint", "--extra", "--output-format",
         "--upgrade-package", "--upgrade-group", "--exclude-newer", "--exclude-newer-package", "--reinstall-package",
         "--link-mode", "--no-build-isolation-package", "--refresh-package", "--color", "--marker", "--optional",
         "--bounds", "--package", "--no-install-package", "--no-extra", "--no-group", "--only-group",
         "--no-build-package", "--no-binary-package", "--fork-strategy"),
        Kind.VALUE,
    ),
    **dict.fromkeys(
        ("--no-verify-hashes", "--no-sources"),
        Kind.JUDGED_FLAG,
    ),
    **dict.fromkeys(
        ("--index", "--default-index", "--index-strategy", "--allow-insecure-host", "--config-file", "--torch-backend",
         "--python-platform", "--resolution", "--prerelease", "--prerelease-package", "--no-sources-package",
         "--config-settings-package"),
        Kind.JUDGED,
    ),
    **dict.fromkeys(
        ("--overrides", "--override", "--with-executables-from", "--script", "--rev", "--tag", "--branch", "--directory",
         "--project"),
        Kind.UNREAD,
    ),
}  # fmt: skip
UV_SYNC = {name: kind for name, kind in UV_INSTALL.items() if name not in {"--editable", "--no-binary"}} | {
    "--no-binary": Kind.JUDGED_FLAG,
    "--group": Kind.VALUE,
}
UV_SHORT = {
    "r": "--requirement", "c": "--constraint", "e": "--editable", "t": "--target", "U": "--upgrade", "n": "--no-cache",
    "P": "--upgrade-package", "C": "--config-settings", "i": "--index-url", "f": "--find-links", "p": "--python",
    "q": "--quiet", "v": "--verbose", "b": "--build-constraints", "w": "--with", "h": "--help", "m": "--marker",
}  # fmt: skip
