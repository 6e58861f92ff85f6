package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rs/zerolog"
	"pgregory.net/rapid"

	"github.com/flip-ha/flip/config"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/secure"
)

// Deriving takes a tenth of a second: once for each key of the tests.
var derivedKeys sync.Map

func keyOf(t interface{ Fatal(...any) }, key string) *secure.Keys {
	once, _ := derivedKeys.LoadOrStore(key, sync.OnceValues(func() (*secure.Keys, error) { return secure.Derive([]byte(key)) }))
	k, err := once.(func() (*secure.Keys, error))()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func known(t interface{ Fatal(...any) }) deriver {
	return func(_ context.Context, key string) (*secure.Keys, error) { return keyOf(t, key), nil }
}

const (
	keyA = "key A, long enough that nobody minds 7c1"
	keyB = "key B, long enough that nobody minds 03f"
	keyC = "key C, long enough that nobody minds 9aa"
	keyX = "key X, that nobody else has, long enough 5"
)

// points are those of the log, in two rotations: from A to B, and from B to C.
func points(t interface{ Fatal(...any) }) []fsm.Keys {
	var out []fsm.Keys
	for i, pair := range [][2]string{{keyA, keyB}, {keyB, keyC}} {
		old, fresh := keyOf(t, pair[0]), keyOf(t, pair[1])
		for _, phase := range []fsm.KeyPhase{fsm.KeyBoth, fsm.KeyNew, fsm.KeyOnly, fsm.KeySettled} {
			k := fsm.Keys{Round: fsm.Index(10 * (i + 1)), Phase: phase, Old: old.Mark(), New: fresh.Mark()}
			if k.Rotating() {
				k.Sealed, k.Back = old.Seal(fresh), fresh.Seal(old)
			}
			out = append(out, k)
		}
	}
	return out
}

// counts says which keys count at the point before the first and at each of points: the
// first is sent by.
var counts = []string{"A", "AB", "BA", "B", "B", "BC", "CB", "C", "C"}

// house is one node's directory and key_file.
type keyHouse struct {
	t         interface{ Fatal(...any) }
	dir, file string
	told      []byte
}

func newKeyHouse(t *testing.T, key string) *keyHouse {
	h := &keyHouse{t: t, dir: t.TempDir()}
	h.file = filepath.Join(h.dir, "key")
	h.write(key)
	return h
}

func (h *keyHouse) write(key string) {
	if err := os.WriteFile(h.file, []byte(key+"\n"), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

func (h *keyHouse) key() string {
	data, err := os.ReadFile(h.file)
	if err != nil {
		h.t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

// start is a start of the node.
func (h *keyHouse) start() *keyring {
	k, err := openKeyring(context.Background(), h.dir, config.Node{KeyFile: h.file}, zerolog.Nop(), known(h.t))
	if err != nil {
		h.t.Fatal(err)
	}
	k.derive = known(h.t)
	return k
}

func (h *keyHouse) reach(k *keyring, to fsm.Keys) error {
	_, err := k.reach(to, func(handover []byte) { h.told = handover })
	return err
}

// letters are the keys of a ring that count, by their letters.
func letters(t interface{ Fatal(...any) }, k *keyring) string {
	set, out := k.Keys(), ""
	for _, key := range append([]*secure.Keys{set.Send}, set.Also...) {
		for letter, text := range map[string]string{"A": keyA, "B": keyB, "C": keyC, "X": keyX} {
			if key.Mark() == keyOf(t, text).Mark() {
				out += letter
			}
		}
	}
	return out
}

// A node goes through every phase, and is where it was after a restart in each; the
// guard is told each change before it counts as done.
func TestKeyringGoesAlong(t *testing.T) {
	h := newKeyHouse(t, keyA)
	k := h.start()
	if got := letters(t, k); got != "A" {
		t.Fatal(got)
	}
	for i, to := range points(t) {
		for range 2 { // also when it is said twice
			if err := h.reach(k, to); err != nil {
				t.Fatal(err)
			}
		}
		if got := letters(t, k); got != counts[i+1] {
			t.Fatalf("point %d: %s counts, want %s", i, got, counts[i+1])
		}
		if !bytes.Equal(h.told, k.Keys().Handover()) {
			t.Errorf("point %d: the guard has other keys", i)
		}
		k = h.start()
		if got := letters(t, k); got != counts[i+1] {
			t.Fatalf("point %d, after a restart: %s counts, want %s", i, got, counts[i+1])
		}
		want := map[string]string{"A": keyA, "B": keyB, "C": keyC}[counts[i+1][:1]]
		if got := h.key(); got != want {
			t.Errorf("point %d: key_file has %q, want %q", i, got, want)
		}
		if info, err := os.Stat(filepath.Join(h.dir, ringFile)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("point %d: %v, %v", i, info.Mode(), err)
		}
	}
	gone := k.Keys().Gone
	if len(gone) != 2 || !knowsKey(k.Keys(), keyA) || !knowsKey(k.Keys(), keyB) {
		t.Errorf("remembered: %d", len(gone))
	}
}

// However a node hears of it — some points are never seen, some again and out of order,
// the process dies and starts anew in between, with the configuration's old key written
// back by somebody — it has at each the keys of the latest it was told, or else says that
// it cannot: only when it slept through all of a rotation.
func TestKeyringHearsAnyhow(t *testing.T) {
	all, base, runs := points(t), t.TempDir(), 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		dir := filepath.Join(base, fmt.Sprint(runs))
		if err := os.Mkdir(dir, 0o700); err != nil {
			rt.Fatal(err)
		}
		first := rapid.SampledFrom([]string{keyA, keyB}).Draw(rt, "first")
		h := &keyHouse{t: rt, dir: dir, file: filepath.Join(dir, "key")}
		h.write(first)
		k := h.start()
		reached, has := -1, map[string]bool{first[4:5]: true}
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			switch rapid.IntRange(0, 4).Draw(rt, "what") {
			case 0:
				k = h.start()
			case 1:
				old := k.Keys().Gone
				if len(old) > 0 {
					h.write(old[0].Key())
				}
			default:
				at := rapid.IntRange(0, len(all)-1).Draw(rt, "point")
				round := at / 4
				pair := []string{"AB", "BC"}[round]
				given := has[pair[:1]] || has[pair[1:]]
				err := h.reach(k, all[at])
				switch {
				case at <= reached:
					if err != nil {
						rt.Fatalf("a point passed: %v", err)
					}
				case all[at].Rotating() && !given:
					if !errors.Is(err, errNotGiven) {
						rt.Fatalf("opened without a key: %v", err)
					}
				case err != nil:
					rt.Fatal(err)
				case all[at].Rotating():
					reached, has[pair[:1]], has[pair[1:]] = at, true, true
				default:
					if reached = at; !has[pair[1:]] {
						reached = -2 // another key was given to all by hand: that of the file goes on
					}
				}
			}
			if reached == -2 {
				return
			}
			want := first[4:5]
			if reached >= 0 {
				want = counts[reached+1]
			}
			if got := letters(rt, k); got != want {
				rt.Fatalf("at %d: %s counts, want %s", reached, got, want)
			}
		}
	})
}

// A crash between two writes leaves what can be gone on from: the ring is written first,
// and key_file may have either key whatever the ring says.
func TestKeyringAfterACrash(t *testing.T) {
	all := points(t)
	for name, tt := range map[string]struct {
		ring int // the point that the ring was written at; -1: not yet
		file string
		want string // what counts
		then string // key_file, after the start
	}{
		"before the ring":                    {-1, keyA, "A", keyA},
		"the ring, both accepted":            {0, keyA, "AB", keyA},
		"the operator was faster":            {0, keyB, "AB", keyB},
		"the ring, not the file":             {1, keyA, "BA", keyB},
		"both":                               {1, keyB, "BA", keyB},
		"in the end, and the file not":       {2, keyA, "B", keyB},
		"restored from a backup":             {6, keyA, "C", keyC},
		"by configuration management":        {6, keyB, "C", keyC},
		"somebody means another one":         {2, keyX, "X", keyX},
		"the same while it is under way":     {1, keyX, "X", keyX},
		"the new one by hand, without a log": {-1, keyB, "B", keyB},
	} {
		t.Run(name, func(t *testing.T) {
			h := newKeyHouse(t, keyA)
			k := h.start()
			for i := 0; i <= tt.ring; i++ {
				if err := h.reach(k, all[i]); err != nil {
					t.Fatal(err)
				}
			}
			h.write(tt.file)
			if err := os.WriteFile(filepath.Join(h.dir, ringFile+".tmp"), []byte("{"), 0o600); err != nil { // cut off
				t.Fatal(err)
			}
			k = h.start()
			if got := letters(t, k); got != tt.want || h.key() != tt.then {
				t.Errorf("%s counts, want %s; key_file has %q", got, tt.want, h.key())
			}
			_, err := os.Stat(filepath.Join(h.dir, ringFile+".aside"))
			if (err == nil) != (tt.file == keyX) {
				t.Errorf("put aside: %v", err)
			}
			if tt.want == "B" && tt.ring < 0 { // it reads of the rotation only now
				if err := h.reach(k, all[0]); err != nil || letters(t, k) != "AB" {
					t.Errorf("%s, %v", letters(t, k), err)
				}
			}
		})
	}
}
