package claim_test

import (
	"testing"

	"carvelwright.dev/payload/internal/claim"
	"carvelwright.dev/payload/internal/hostfs"
)

const claims = claim.Program("whereabouts-installer")

func TestOrder(t *testing.T) {
	dir, err := hostfs.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	take := func(kind claim.Kind) (claim.Claim, func()) {
		t.Helper()
		c, release, err := claims.Take(dir, kind)
		if err != nil {
			t.Fatal(err)
		}
		return c, release
	}
	above := func(c claim.Claim, want *claim.Claim) {
		t.Helper()
		top, ok, err := claims.Above(dir, c.Number)
		if err != nil || ok != (want != nil) || (ok && top != *want) {
			t.Errorf("above %v: %v %v %v, want %v", c, top, ok, err, want)
		}
	}
	old, releaseOld := take(claim.Held)
	above(old, nil)
	announced, _ := take(claim.Announced)
	above(old, &announced)
	newer, releaseNewer := take(claim.Held)
	above(old, &newer)
	above(newer, nil)
	if list, err := claims.List(dir); err != nil || len(list) != 2 {
		t.Errorf("the announcement of the one that came was kept: %v %v", list, err)
	}
	releaseNewer() // killed: its file stays and means nothing
	above(old, nil)
	if err := claim.Remove(dir, newer); err != nil {
		t.Error(err)
	}
	if err := claim.Remove(dir, newer); err != nil {
		t.Errorf("removed twice: %v", err)
	}
	releaseOld()
}

func TestNames(t *testing.T) {
	for name, want := range map[string]bool{
		".whereabouts-installer-claim-1-install-00aa11bb": true, ".whereabouts-installer-claim-12-refresh-00aa11bb": true,
		".whereabouts-installer-claim-1-other-00": false, ".whereabouts-installer-claim-x-install-00": false,
		".whereabouts-installer-claim-": false, "nodename": false, ".whereabouts-installer-whereabouts-00.tmp": false,
	} {
		if claims.IsClaim(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}
