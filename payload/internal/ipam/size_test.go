package ipam_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"carvelwright.dev/payload/internal/ipam"
)

// stored is the text of a pool as the API server stores it: container IDs of 64 characters, pods whose namespace and name have 40
// together, and managedFields.
func stored(allocations int) []byte {
	held, managed := map[string]any{}, map[string]any{".": map[string]any{}}
	for i := range allocations {
		held[fmt.Sprint(i)] = map[string]string{"id": strings.Repeat("c", 64), "podref": fmt.Sprintf("%s/%08d", strings.Repeat("n", 31), i), "ifname": "net1"}
		managed[fmt.Sprintf("f:%d", i)] = map[string]any{".": map[string]any{}, "f:id": map[string]any{}, "f:ifname": map[string]any{}, "f:podref": map[string]any{}}
	}
	text, err := json.Marshal(map[string]any{
		"apiVersion": "whereabouts.cni.cncf.io/v1alpha1", "kind": "IPPool",
		"metadata": map[string]any{"name": "10.0.0.0-16", "namespace": "kube-system", "managedFields": []any{map[string]any{
			"manager": "whereabouts", "operation": "Update", "apiVersion": "whereabouts.cni.cncf.io/v1alpha1", "fieldsType": "FieldsV1",
			"fieldsV1": map[string]any{"f:spec": map[string]any{"f:allocations": managed}}}}},
		"spec": map[string]any{"range": "10.0.0.0/16", "allocations": held},
	})
	if err != nil {
		panic(err)
	}
	return text
}

func read(t *testing.T, text []byte) ipam.Pool {
	t.Helper()
	var pool ipam.Pool
	if err := json.Unmarshal(text, &pool); err != nil {
		t.Fatal(err)
	}
	return pool
}

// The figures of docs/how-to/sizing.md: of pools that upstream's programs write, and of those that this package's write.
func TestHowManyAllocationsFitIntoAPool(t *testing.T) {
	for allocations, want := range map[int][2]int{5_000: {65, 47}, 6_200: {80, 58}, 7_700: {100, 72}, 10_600: {138, 100}} {
		text := stored(allocations)
		pools := [2]ipam.Pool{read(t, text), read(t, without(t, text, "managedFields"))}
		for i, pool := range pools {
			if percent := 100 * pool.Size / ipam.SizeLimit; percent != want[i] {
				t.Errorf("%d allocations take %d%%, want %d%%", allocations, percent, want[i])
			}
		}
	}
}

// without is the text of a pool without a key of its metadata.
func without(t *testing.T, text []byte, key string) []byte {
	t.Helper()
	var whole map[string]any
	if err := json.Unmarshal(text, &whole); err != nil {
		t.Fatal(err)
	}
	delete(whole["metadata"].(map[string]any), key)
	plain, err := json.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

func TestPoolIsWarnedOfFrom80PercentOn(t *testing.T) {
	if found := ipam.SizeWarnings([]ipam.Pool{read(t, stored(6_100))}); found != nil {
		t.Errorf("too soon: %v", found)
	}
	found := ipam.SizeWarnings([]ipam.Pool{read(t, stored(10)), read(t, stored(7_000))})
	if len(found) != 1 || !strings.Contains(found[0], "kube-system/10.0.0.0-16: 7000 allocations take 91%") {
		t.Errorf("%v", found)
	}
}

// kubectl's output is indented and does not show managedFields, and still gives the size of what is stored.
func TestSizeFromKubectlsOutput(t *testing.T) {
	text := stored(1_000)
	plain := without(t, text, "managedFields")
	var shown bytes.Buffer
	if err := json.Indent(&shown, plain, "", "    "); err != nil {
		t.Fatal(err)
	}
	shownWhole, unshown := read(t, text), read(t, shown.Bytes())
	// What the API server itself does not have takes no place.
	if unshown.Size != len(plain) {
		t.Errorf("%d bytes, taken for %d", len(plain), unshown.Size)
	}
	for _, each := range []*ipam.Pool{&shownWhole, &unshown} {
		each.Unshown()
		if real := len(text); each.Size < real*99/100 || each.Size > real*101/100 {
			t.Errorf("%d bytes, taken for %d", real, each.Size)
		}
	}
}
