#!/bin/sh
# etcd, kube-apiserver and kube-scheduler into FOLDER/bin, built from Debian's source package: sh tests/control_plane/build.sh FOLDER
#
# Needs Debian 12 (kubernetes 1.20.2, Go 1.19) and its archive; no root. Nothing is installed: packages are unpacked in FOLDER.
# What is fetched is checked by apt against the signed index of the archive. 6 minutes of CPU, and 2 GB while it is built.
set -eu
. /etc/os-release
[ "$VERSION_CODENAME" = bookworm ] || { echo "$0: this is built from the packages of Debian 12" >&2; exit 1; }
mkdir -p "$1/bin"
folder=$(cd "$1" && pwd)
cd "$folder"

# The archive that this machine uses, and its sources beside its packages.
rm -rf apt packages root go
mkdir -p apt/parts apt/lists/partial apt/archives/partial packages
for list in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list; do
  [ -e "$list" ] || continue
  case $list in
    *.sources) sed 's/^Types:.*/Types: deb deb-src/' "$list" > apt/parts/debian.sources ;;
    *) sed -n 's/^deb /deb-src /p; /^deb-src /d; /^deb /p' "$list" > apt/parts/debian.list ;;
  esac
done
from() {
  apt-get --quiet --quiet -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$folder/apt/parts" \
    -o Dir::State::Lists="$folder/apt/lists" -o Dir::Cache="$folder/apt" -o APT::Sandbox::User= "$@"
}
from update
(cd packages && from download golang-1.19-go golang-1.19-src etcd-server && from source --download-only kubernetes)
for package in packages/*.deb; do dpkg-deb -x "$package" root; done
cp root/usr/bin/etcd bin/

# With modules the vendored tree does not build ("updates to go.mod needed"); upstream builds it in a GOPATH, too.
source=$folder/go/src/k8s.io/kubernetes
mkdir -p "$source"
tar --strip-components=1 -C "$source" -xzf packages/kubernetes_*.orig.tar.gz
export GOROOT="$folder/root/usr/lib/go-1.19" GOPATH="$folder/go" GOCACHE="$folder/cache" GO111MODULE=off CGO_ENABLED=0 GOFLAGS="${GOFLAGS:-}"
go=$GOROOT/bin/go
cd "$source"
version=k8s.io/kubernetes/vendor/k8s.io/component-base/version
flags="-s -w -X $version.gitVersion=v1.20.2 -X $version.gitMajor=1 -X $version.gitMinor=20"
"$go" build -ldflags "$flags" -o "$folder/bin/kube-scheduler" k8s.io/kubernetes/cmd/kube-scheduler
# The API's own description is the one generated file that the sources lack.
"$go" build -o "$folder/bin/openapi-gen" k8s.io/kubernetes/vendor/k8s.io/kube-openapi/cmd/openapi-gen
described=$(grep -Rl --include='*.go' '^// *+k8s:openapi-gen=' pkg vendor/k8s.io | xargs -n 1 dirname | sort -u | sed 's|^|k8s.io/kubernetes/|' | paste -s -d,)
PATH=$GOROOT/bin:$PATH "$folder/bin/openapi-gen" -i "$described" -p k8s.io/kubernetes/pkg/generated/openapi -O zz_generated.openapi \
  -h vendor/k8s.io/code-generator/hack/boilerplate.go.txt -r "$folder/violations" -o "$GOPATH/src"
# Without the clients of clouds, which take most of the time.
"$go" build -tags providerless -ldflags "$flags" -o "$folder/bin/kube-apiserver" k8s.io/kubernetes/cmd/kube-apiserver
cd "$folder"
rm -rf apt packages root go cache
