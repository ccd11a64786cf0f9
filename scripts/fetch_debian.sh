#!/usr/bin/env bash
# Unpacks Debian packages, and what they depend on and the machine lacks, into a folder. Needs no root and changes nothing
# outside the folder. The machine's release of Debian sets the versions; apt checks the signatures.
#
# Usage: fetch_debian.sh DIR PACKAGE...
# `@` in a package's name stands for the release's version of clang.
set -euo pipefail

target=$1
shift
packages="$*"
give_up() {
  echo "$0: could not get $packages into $target, which apt and a Debian mirror would give." \
    "CONTRIBUTING.md (C++ tests and fuzzers) says what else may stand there." >&2
}
trap give_up ERR
command -v apt-get > /dev/null
# The folder appears when it is complete.
dir=$target.part
rm -rf "$dir"
mkdir -p "$dir/apt/lists/partial" "$dir/apt/archives/partial"
apt=$(realpath "$dir/apt")
options=(
  -o "Dir::State::lists=$apt/lists" -o "Dir::Cache=$apt" -o "Dir::Cache::archives=$apt/archives"
  -o Debug::NoLocking=true -o "APT::Sandbox::User=$(id -un)"
)

apt-get "${options[@]}" -qq update
clang=$(apt-cache "${options[@]}" depends clang | sed -n 's/^ *Depends: clang-//p')
# --reinstall: what is named here is wanted in the folder even if the machine has it.
apt-get "${options[@]}" -qq -y --no-install-recommends --reinstall --download-only install "${@//@/$clang}" > /dev/null
for archive in "$apt"/archives/*.deb; do
  dpkg-deb -x "$archive" "$dir"
  dpkg-deb -W --showformat='fetched ${Package} ${Version}\n' "$archive"
done
rm -rf "$apt"
mv "$dir" "$target"
