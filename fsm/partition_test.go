package fsm

import "testing"

// The sums are those of the algorithm's authors' own test vectors
// (www.isthe.com/chongo/src/fnv/test_fnv.c), modulo the number of partitions.
func TestPartitionOf(t *testing.T) {
	for _, tt := range []struct {
		hash Hash
		key  string
		sum  uint64
	}{
		{FNV64a, "", 0xcbf29ce484222325},
		{FNV64a, "a", 0xaf63dc4c8601ec8c},
		{FNV64a, "foobar", 0x85944171f73967e8},
		{FNV32a, "", 0x811c9dc5},
		{FNV32a, "a", 0xe40c292c},
		{FNV32a, "foobar", 0xbf9cf968},
	} {
		for _, count := range []int{1, 7, 512, 1_000_000} {
			want := ItemID(uitoa(tt.sum % uint64(count)))
			if got := (Partitions{Count: count, Hash: tt.hash}).Item(tt.key); got != want {
				t.Errorf("%v of %q among %d: %s, want %s", tt.hash, tt.key, count, got, want)
			}
		}
	}
}

func uitoa(n uint64) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return uitoa(n/10) + uitoa(n%10)
}
