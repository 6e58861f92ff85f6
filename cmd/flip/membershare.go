package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/flip-ha/flip/api"
)

// shareFlags reads how much a new member is to have, and what is said of it.
func shareFlags(c *cli.Context, what *api.MemberAdd) error {
	for _, name := range []string{"weight", "capacity"} {
		if c.IsSet(name) && c.Int(name) < 1 {
			return &usageError{what: fmt.Sprintf("--%s cannot be %d", name, c.Int(name)), hint: "a number from 1 on; leave it out for the default"}
		}
	}
	what.Weight, what.Capacity, what.Zone = c.Int("weight"), c.Int("capacity"), c.String("zone")
	for _, tag := range c.StringSlice("tag") {
		name, value, found := strings.Cut(tag, "=")
		if _, twice := what.Tags[name]; !found || name == "" || value == "" || twice {
			return &usageError{what: fmt.Sprintf("--tag %q is no tag, or there twice", tag), hint: "--tag NAME=VALUE, such as --tag disk=ssd, each name once"}
		}
		if what.Tags == nil {
			what.Tags = map[string]string{}
		}
		what.Tags[name] = value
	}
	return nil
}

// addShare shows the same of a member, as far as anything is said.
func addShare(t *table, m api.MemberInfo) {
	if m.Weight > 1 {
		t.add(plain, "weight", strconv.Itoa(m.Weight))
	}
	if m.Capacity > 0 {
		t.add(plain, "capacity", strconv.Itoa(m.Capacity))
	}
	if m.Zone != "" {
		t.add(plain, "zone", m.Zone)
	}
	if len(m.Tags) > 0 {
		t.add(plain, "tags", tagWords(m.Tags))
	}
}

func tagWords(tags map[string]string) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		words = append(words, name+"="+tags[name])
	}
	return strings.Join(words, ", ")
}
