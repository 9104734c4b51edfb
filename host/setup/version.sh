#!/usr/bin/env bash
# Print the version of the program, which stands in the workspace's Cargo.toml.
set -euo pipefail
cd "$(dirname "$0")/../.."
sed -n '/^\[workspace.package\]/,/^\[/ s/^version = "\(.*\)"/\1/p' Cargo.toml
