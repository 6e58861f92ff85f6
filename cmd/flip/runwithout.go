package main

import (
	"net/netip"
	"slices"
	"strings"
)

// withoutVariable names protections that this daemon shall claim and not have. It
// is for tests alone, whose harness must show that it would see two holders.
const withoutVariable = "FLIP_TEST_WITHOUT"

// isWithout reports whether a test takes a protection away: "gate", "guard", or
// "release" of what is held when the lease ends.
func (p paths) isWithout(what string) bool {
	return slices.Contains(strings.Split(p.without, ","), what)
}

// noValve lets everything pass.
type noValve struct{}

// Add implements ip.Gate.
func (noValve) Add([]netip.Addr) error { return nil }

// Remove implements ip.Gate.
func (noValve) Remove([]netip.Addr) error { return nil }
