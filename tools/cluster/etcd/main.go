// Command etcd is etcd's server, built from its module because the release's main package lies in a module without a version.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
