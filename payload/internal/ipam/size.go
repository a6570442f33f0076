package ipam

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// SizeLimit is how many bytes an object may have: etcd refuses larger requests (its --max-request-bytes, unless it was changed).
// No address can be allocated from a pool that has reached it.
const SizeLimit = 1536 << 10

// sizeWarning is from how much of the limit on an operator is told, in percent.
const sizeWarning = 80

// managedField is what metadata.managedFields holds for one allocation besides its key: "f:KEY":{".":{},"f:id":{},…},
const managedField = len(`"f:":{".":{},"f:id":{},"f:ifname":{},"f:podref":{}},`)

// UnmarshalJSON reads a pool, and its size from the text, which may be indented.
func (p *Pool) UnmarshalJSON(text []byte) error {
	type plain Pool
	if err := json.Unmarshal(text, (*plain)(p)); err != nil {
		return err
	}
	var stored struct {
		Metadata struct {
			ManagedFields json.RawMessage `json:"managedFields"`
		} `json:"metadata"`
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, text); err != nil {
		return err
	}
	if err := json.Unmarshal(text, &stored); err != nil {
		return err
	}
	p.Size, p.managed = compact.Len(), stored.Metadata.ManagedFields != nil
	return nil
}

// Unshown allows for metadata.managedFields, which kubectl leaves out. Who reads the API server itself sees whether they are
// there: this package's programs drop them, those of other versions do not.
func (p *Pool) Unshown() {
	if p.managed {
		return
	}
	for key := range p.Spec.Allocations {
		p.Size += len(key) + managedField
	}
}

// SizeWarnings names the pools that will soon be too large to allocate from, one line each.
func SizeWarnings(pools []Pool) (warnings []string) {
	for _, p := range pools {
		if percent := 100 * p.Size / SizeLimit; percent >= sizeWarning {
			warnings = append(warnings, fmt.Sprintf("pool %s: %d allocations take %d%% of the size that an object may have (1.5 MiB): "+
				"at 100%% every ADD fails; divide the range among several networks", p.Metadata.Ref(), len(p.Spec.Allocations), percent))
		}
	}
	return warnings
}
