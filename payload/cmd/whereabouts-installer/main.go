// Command whereabouts-installer puts the Whereabouts CNI plugin and its files on a node, and keeps them right.
package main

import (
	"os"

	"carvelwright.dev/payload/internal/cli"
	"carvelwright.dev/payload/internal/whereabouts/program"
)

// version is set by the linker (-X main.version=...).
var version = "unknown"

func main() {
	env := cli.Env{Version: version, Getenv: os.Getenv, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	os.Exit(cli.Main(program.New(), env, os.Args[1:]))
}
