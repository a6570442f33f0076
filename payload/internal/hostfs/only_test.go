package hostfs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The crash tests see only what goes through this package. So nothing else may change a file, but for two that are the pod's own.
func TestNothingElseChangesFiles(t *testing.T) {
	allowed := map[string][]string{
		"probe/probe.go": {"os.Remove"},   // the socket, in a volume of the pod
		"cli/cluster.go": {"os.OpenFile"}, // the termination message, a file of the kubelet's
	}
	reading := []string{"Open", "ReadFile", "ReadDir", "Stat", "Lstat", "Getenv", "Geteuid", "Exit", "Args", "Stdin", "Stdout", "Stderr",
		"O_WRONLY", "O_TRUNC", "LinkError"}
	files := 0
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		name, _ := filepath.Rel("..", path)
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") ||
			strings.HasPrefix(name, "hostfs/") || strings.Contains(filepath.Dir(name), "test") {
			return err
		}
		files++
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			used, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			switch from, _ := used.X.(*ast.Ident); {
			case from == nil:
			case from.Name == "os" && !slices.Contains(reading, used.Sel.Name) && !slices.Contains(allowed[name], "os."+used.Sel.Name),
				from.Name == "syscall" && slices.Contains([]string{"Open", "Write", "Rename", "Unlink", "Mkdir", "Chmod", "Syscall", "RawSyscall"}, used.Sel.Name),
				from.Name == "ioutil", from.Name == "unix":
				t.Errorf("%s uses %s.%s: changes of the host go through package hostfs", name, from.Name, used.Sel.Name)
			}
			return true
		})
		return nil
	})
	if err != nil || files < 15 {
		t.Errorf("looked at %d files: %v", files, err)
	}
}
