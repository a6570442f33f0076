package preflight

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Limit is a container's limit as a package value sets it: KEY=QUANTITY, where KEY ends with the resource's name.
type Limit struct {
	Key      string // such as whereabouts.config.resources.limits.memory
	Quantity string
	amount   float64
}

// What is enough in a small cluster. The community package 0.5.4 set 50Mi and 100m: the control loop was killed, and throttled.
const (
	leastMemory = 100 << 20
	leastCPU    = 0.2
)

// ParseLimit reads KEY=QUANTITY.
func ParseLimit(text string) (Limit, error) {
	key, quantity, both := strings.Cut(text, "=")
	if !both || (!strings.HasSuffix(key, ".memory") && !strings.HasSuffix(key, ".cpu")) {
		return Limit{}, fmt.Errorf("%q is not KEY=QUANTITY with a KEY that ends with .memory or .cpu", text)
	}
	amount, err := parseQuantity(quantity)
	if err != nil {
		return Limit{}, fmt.Errorf("%q: %w", text, err)
	}
	return Limit{key, quantity, amount}, nil
}

func parseQuantity(text string) (float64, error) {
	units := map[string]float64{"m": 1e-3, "": 1, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
	number := strings.TrimRight(text, "mkKMGi")
	factor, known := units[text[len(number):]]
	amount, err := strconv.ParseFloat(number, 64)
	if !known || err != nil || amount < 0 {
		return 0, errors.New("not a quantity such as 100Mi or 500m")
	}
	return amount * factor, nil
}

// LimitProblems warns of limits that are known to be too low.
func LimitProblems(limits []Limit) (problems []Problem) {
	for _, l := range limits {
		memory := strings.HasSuffix(l.Key, ".memory")
		switch {
		case memory && l.amount < leastMemory:
			problems = append(problems, Warns("%s is %s: in clusters of a few nodes already the container is killed for want of memory; "+
				"remove the value, or set 1Gi", l.Key, l.Quantity))
		case !memory && l.amount < leastCPU:
			problems = append(problems, Warns("%s is %s: the container is throttled while pods wait for it; remove the value", l.Key, l.Quantity))
		}
	}
	return problems
}
