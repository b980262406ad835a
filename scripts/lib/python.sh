# Sourced, after install.sh: the tests' Python packages, in .venv.

python_packages() {
    local requirements=tests/service/requirements.txt
    python3 -c 'import ensurepip, venv' 2>/dev/null || install_package python3-venv "Python's venv is missing"
    [[ -x .venv/bin/python ]] || python3 -m venv .venv
    cmp --silent "$requirements" .venv/installed && return
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile -r "$requirements"
    cp "$requirements" .venv/installed
}
