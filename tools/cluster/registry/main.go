// Command registry serves an OCI registry over plain HTTP that keeps all it has in a directory: registry ADDRESS DIRECTORY.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
)

func main() {
	if len(os.Args) != 3 {
		fail("usage: registry ADDRESS DIRECTORY")
	}
	config := &configuration.Configuration{
		Storage: configuration.Storage{"filesystem": {"rootdirectory": os.Args[2]}},
	}
	// What crane asks for at a time.
	config.Catalog.MaxEntries = 1000
	// Signs uploads that are under way; nobody else takes part in them.
	config.HTTP.Secret = "cluster"
	fail(http.ListenAndServe(os.Args[1], handlers.NewApp(context.Background(), config)))
}

func fail(reason any) {
	fmt.Fprintln(os.Stderr, "registry:", reason)
	os.Exit(1)
}
