# Makes everything that tests/demo and tests/run need. To be sourced at the root of the checkout, by sh or bash 3.2:
#
#     . tests/support/bootstrap.sh
#     bootstrap            # installs what is missing, printing each command first
#     bootstrap --no-install   # only names what is missing, and fails
#
# Everything it makes lies inside the checkout (.venv, .agents), but for what the system's package manager installs.
# shellcheck shell=sh

bootstrap() {
    bootstrap_installs=yes
    if [ "${1-}" = --no-install ]; then bootstrap_installs=no; fi

    need tmux tmux && need git git && need zsh zsh && need fish fish && need_ssh && need_node && need_python && make_venv && install_project && install_agents || return 1
}

complain() {
    echo "dev-sessions: $*" >&2
    return 1
}

# Runs a command after printing it; with --no-install only complains. $1: what it is for.
perform() {
    bootstrap_purpose=$1
    shift
    if [ "$bootstrap_installs" = no ]; then
        complain "$bootstrap_purpose; would run: $*"
        return 1
    fi
    echo "+ $*"
    "$@" || complain "$bootstrap_purpose, and this failed: $*"
}

# Installs packages by the system's own manager. $1: why; $2: names for apt, dnf, apk and pacman; $3: for brew.
install_packages() {
    bootstrap_root=
    if [ "$(id -u)" != 0 ] && command -v sudo >/dev/null; then bootstrap_root='sudo -n'; fi
    # The lists of names, and the empty or two-word prefix, are meant to be split.
    # shellcheck disable=SC2086
    if command -v apt-get >/dev/null; then
        perform "$1" $bootstrap_root env DEBIAN_FRONTEND=noninteractive \
            sh -c "apt-get update -q && apt-get install -q -y --no-install-recommends $2"
    elif command -v dnf >/dev/null; then
        perform "$1" $bootstrap_root dnf install -y $2
    elif command -v apk >/dev/null; then
        perform "$1" $bootstrap_root apk add $2
    elif command -v pacman >/dev/null; then
        perform "$1" $bootstrap_root pacman -S --noconfirm --needed $2
    elif command -v brew >/dev/null; then
        perform "$1" brew install $3
    else
        complain "$1, and no package manager is known here; install $2 yourself"
    fi
}

# $1: the program, $2: its package.
need() {
    command -v "$1" >/dev/null || install_packages "$1 is missing" "$2" "$2"
}

# The server is no program of every user's PATH.
need_ssh() {
    if ! command -v ssh >/dev/null; then
        install_packages "ssh is missing" "$(if command -v apt-get >/dev/null; then echo openssh-client; else echo openssh; fi)" openssh || return 1
    fi
    if ! PATH=$PATH:/usr/sbin:/usr/local/sbin command -v sshd >/dev/null; then
        install_packages "sshd is missing" "$(if command -v pacman >/dev/null; then echo openssh; else echo openssh-server; fi)" openssh
    fi
}

# What tests alone use. Where systemd is not the system's own there is nothing of it to test, and sandboxes of bwrap,
# which Claude Code's joins with socat, are Linux's.
need_for_tests() {
    need zsh zsh && need tcsh tcsh || return 1
    [ "$(uname)" != Linux ] || { need bwrap bubblewrap && need socat socat; } || return 1
    command -v systemd-analyze >/dev/null || ! command -v apt-get >/dev/null ||
        install_packages "systemd-analyze is missing" systemd ""
}

# Versions of tmux and Python are taken from Debian's packages, and patchelf lets each use its own libraries.
need_for_packages() {
    command -v apt-get >/dev/null || complain "programs are unpacked from Debian's packages; run this on Debian" || return 1
    need patchelf patchelf
}

need_node() {
    if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
        install_packages "node and npm are missing" "nodejs npm" node || return 1
    fi
    node -e 'process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)' ||
        complain "node $(node --version) is too old; install node 18 or newer"
}

# Sets $bootstrap_python to a Python of 3.11 or newer. A name on PATH proves nothing: it may be a stub.
find_python() {
    for bootstrap_python in python3.13 python3.12 python3.11 python3; do
        if "$bootstrap_python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then return 0; fi
    done
    return 1
}

need_python() {
    find_python && return 0
    install_packages "Python 3.11 or newer is missing" python3 python3 || return 1
    find_python || complain "this system's Python is older than 3.11; install Python 3.11 or newer"
}

# What is there is good if it was made where the checkout now lies (its scripts hold that path) and pip answers.
make_venv() {
    if grep -qF " $PWD/.venv" .venv/pyvenv.cfg 2>/dev/null && .venv/bin/python -m pip --version >/dev/null 2>&1; then
        return 0
    fi
    if ! "$bootstrap_python" -c 'import ensurepip, venv' 2>/dev/null; then
        # Debian keeps them in a package of their own, which other systems neither have nor need.
        command -v apt-get >/dev/null || complain "$bootstrap_python has no venv module; install it" || return 1
        install_packages "$bootstrap_python has no venv module" "$(debian_venv_package)" "" || return 1
    fi
    perform "there is no virtual environment" "$bootstrap_python" -m venv --clear .venv
}

debian_venv_package() {
    "$bootstrap_python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'
}

install_project() {
    if [ -e .venv/installed ] && [ ! pyproject.toml -nt .venv/installed ]; then return 0; fi
    perform "the project is not installed in .venv" \
        .venv/bin/python -m pip install --quiet --no-cache-dir --disable-pip-version-check -e '.[dev]' &&
        touch .venv/installed
}

install_agents() {
    .venv/bin/python -m tests.support.agents --check >/dev/null 2>&1 ||
        perform "the agents' pinned versions are not installed" .venv/bin/python -m tests.support.agents
}
