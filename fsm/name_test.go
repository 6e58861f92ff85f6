package fsm

import (
	"strings"
	"testing"
)

func TestServerName(t *testing.T) {
	for name, want := range map[string]bool{
		"n4": true, "a.b_c-D9": true, "": false, ".n": false, "-n": false, "a/b": false, "ä": false,
		strings.Repeat("x", 63): true, strings.Repeat("x", 64): false,
	} {
		if got := GoodServerName(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}

func TestTagsAndZones(t *testing.T) {
	for name, want := range map[string]bool{
		"disk": true, "example.com/disk_2-a": true, "": false, "-disk": false, ".disk": false, "a=b": false, "a b": false,
		strings.Repeat("x", 63): true, strings.Repeat("x", 64): false,
	} {
		if got := GoodTagName(name); got != want {
			t.Errorf("tag %q: %v", name, got)
		}
	}
	for value, want := range map[string]bool{
		"ssd": true, "a b=ä*": true, "": false, "*": false, "a\nb": false, strings.Repeat("x", 255): true, strings.Repeat("x", 256): false,
	} {
		if got := GoodTagValue(value); got != want {
			t.Errorf("value %q: %v", value, got)
		}
	}
	for zone, want := range map[string]bool{
		"rack 7": true, "": false, "a\x00": false, strings.Repeat("x", 63): true, strings.Repeat("x", 64): false,
	} {
		if got := GoodZone(zone); got != want {
			t.Errorf("zone %q: %v", zone, got)
		}
	}
}
