#!/bin/sh
# What a stand-in test does: leave a recorded output directory as its own, and say a recorded log.
# The test of a package that is called sleep<seconds> takes that long.
set -eu
case $3 in sleep*) sleep "${3#sleep}" ;; esac
cp -r "$1/out" "$2"
echo "$3 1.0" >"$2/testpkg-version"
cat "$1/log"
