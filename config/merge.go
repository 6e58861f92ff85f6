package config

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// merge is what hooks get as their second argument: the system's config over
// the cluster's, key by key, compact and with sorted keys, so that the same
// configuration gives the same bytes.
func merge(shared, own *value) []byte {
	merged := &value{kind: kindObject}
	taken := map[string]bool{}
	for _, from := range []*value{own, shared} {
		if from == nil {
			continue
		}
		for _, m := range from.members {
			if !taken[m.name] {
				taken[m.name] = true
				merged.members = append(merged.members, m)
			}
		}
	}
	var b bytes.Buffer
	merged.write(&b)
	return b.Bytes()
}

// write is the value as compact JSON; numbers keep the digits of the file.
func (v *value) write(b *bytes.Buffer) {
	switch v.kind {
	case kindNull:
		b.WriteString("null")
	case kindBool:
		b.WriteString(map[bool]string{true: "true", false: "false"}[v.yes])
	case kindNumber:
		b.WriteString(v.text)
	case kindString:
		writeString(b, v.text)
	case kindArray:
		for i, item := range v.list {
			b.WriteByte("[,"[min(i, 1)])
			item.write(b)
		}
		if len(v.list) == 0 {
			b.WriteByte('[')
		}
		b.WriteByte(']')
	case kindObject:
		sorted := slices.SortedFunc(slices.Values(v.members), func(a, b member) int { return strings.Compare(a.name, b.name) })
		b.WriteByte('{')
		for i, m := range sorted {
			if i > 0 {
				b.WriteByte(',')
			}
			writeString(b, m.name)
			b.WriteByte(':')
			m.value.write(b)
		}
		b.WriteByte('}')
	}
}

// writeString leaves <, > and & as they are: no HTML is near.
func writeString(b *bytes.Buffer, s string) {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil { // a string always encodes
		panic(err)
	}
	b.Truncate(b.Len() - 1) // the newline that Encode adds
}
