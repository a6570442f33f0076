// Package claim settles which of several installers on a node keeps the files.
//
// During a rolling update the old pod and the new one live side by side, and both would restore "their" kubeconfig and plugin,
// for ever. So each leaves a numbered claim in the package's directory: the highest one counts. A running refresher holds a lock on its
// claim, which the kernel drops when it dies, however it dies. No clock is compared and nothing has to be renewed.
package claim

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"carvelwright.dev/payload/internal/hostfs"
)

// Program is the name of the program whose claims these are.
type Program string

func (p Program) prefix() string { return "." + string(p) + "-claim-" }

// Kind tells what a claim without a living holder means.
type Kind string

const (
	// Announced is made by an install: a refresher of the same pod is about to start.
	Announced Kind = "install"
	// Held is made by a refresher; it means nothing once its maker is dead.
	Held Kind = "refresh"
)

// Claim is a file in the package's directory.
type Claim struct {
	Name   string
	Number uint64
	Kind   Kind
}

// IsClaim tells whether a name in the package's directory is a claim's.
func (p Program) IsClaim(name string) bool {
	_, ok := p.parse(name)
	return ok
}

func (p Program) parse(name string) (Claim, bool) {
	rest, ok := strings.CutPrefix(name, p.prefix())
	if !ok {
		return Claim{}, false
	}
	parts := strings.Split(rest, "-")
	if len(parts) != 3 || (parts[1] != string(Announced) && parts[1] != string(Held)) {
		return Claim{}, false
	}
	number, err := strconv.ParseUint(parts[0], 10, 64)
	return Claim{name, number, Kind(parts[1])}, err == nil
}

// List gives all claims in the directory.
func (p Program) List(dir hostfs.Dir) ([]Claim, error) {
	names, err := dir.Names()
	if err != nil {
		return nil, err
	}
	var claims []Claim
	for _, name := range names {
		if c, ok := p.parse(name); ok {
			claims = append(claims, c)
		}
	}
	return claims, nil
}

// Take makes a claim above all others. The caller holds the directory's lock. A Held claim is held until release is called or
// the process ends. Claims below it which nobody holds are removed.
func (p Program) Take(dir hostfs.Dir, kind Kind) (mine Claim, release func(), err error) {
	claims, err := p.List(dir)
	if err != nil {
		return Claim{}, nil, err
	}
	number := uint64(1)
	for _, c := range claims {
		number = max(number, c.Number+1)
	}
	// The random part tells it from a claim with the same number in a directory that was removed and made again.
	var random [4]byte
	_, _ = rand.Read(random[:])
	mine = Claim{fmt.Sprintf("%s%d-%s-%s", p.prefix(), number, kind, hex.EncodeToString(random[:])), number, kind}
	release, err = dir.CreateHeld(mine.Name)
	if err != nil {
		return Claim{}, nil, err
	}
	if kind == Announced {
		release()
		release = func() {}
	}
	for _, c := range claims {
		if held, err := dir.IsHeld(c.Name); err == nil && !held {
			_ = Remove(dir, c)
		}
	}
	return mine, release, nil
}

// Remove takes a claim back; that it is gone already is no error.
func Remove(dir hostfs.Dir, c Claim) error {
	if err := dir.Remove(c.Name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Above gives the claim above number that counts: one that a living refresher holds, else the highest announcement. ok is
// false when there is none.
func (p Program) Above(dir hostfs.Dir, number uint64) (top Claim, ok bool, err error) {
	claims, err := p.List(dir)
	if err != nil {
		return Claim{}, false, err
	}
	for _, c := range claims {
		if c.Number <= number {
			continue
		}
		if c.Kind == Announced {
			if !ok || c.Number > top.Number {
				top, ok = c, true
			}
			continue
		}
		held, err := dir.IsHeld(c.Name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return Claim{}, false, err
		}
		if held {
			return c, true, nil
		}
	}
	return top, ok, nil
}
