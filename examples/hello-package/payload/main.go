// Command hello greets whom it is told to, or prints its version when told nobody.
package main

import (
	"fmt"
	"os"
	"strings"
)

var version = "unknown"

func main() {
	if len(os.Args) < 2 {
		fmt.Println("hello", version)
		return
	}
	fmt.Println(strings.Join(os.Args[1:], ", "))
}
