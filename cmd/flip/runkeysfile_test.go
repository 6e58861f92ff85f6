package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/config"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/secure"
)

// Whose data directory is gone goes on with what key_file says by then; one that has the
// old key there is let in as long as that counts, and is given the new one.
func TestKeyringOfAWipedDirectory(t *testing.T) {
	for name, tt := range map[string]struct{ file, want string }{"old": {keyA, "BA"}, "new": {keyB, "BA"}} {
		h := newKeyHouse(t, tt.file)
		k := h.start()
		if err := h.reach(k, points(t)[1]); err != nil || letters(t, k) != tt.want || h.key() != keyB {
			t.Errorf("%s: %s, %v; key_file has %q", name, letters(t, k), err, h.key())
		}
	}
}

func TestKeyringCannotGoAlong(t *testing.T) {
	h := newKeyHouse(t, keyX)
	k := h.start()
	if err := h.reach(k, points(t)[0]); !errors.Is(err, errNotGiven) || letters(t, k) != "X" {
		t.Errorf("%v", err)
	}
	var shown api.Key
	if k.Own(&shown); shown.Trouble == "" || len(k.alarms()) != 1 || k.alarms()[0].Severity != api.Critical {
		t.Errorf("%+v, %+v", shown, k.alarms())
	}
	// Over, and everybody has X: it is nobody's trouble any more.
	if err := h.reach(k, points(t)[3]); err != nil || letters(t, k) != "X" {
		t.Errorf("%v", err)
	}
	// The log says of a key that it is another one than it is.
	lie := points(t)[0]
	lie.New = keyOf(t, keyC).Mark()
	h = newKeyHouse(t, keyA)
	if err := h.reach(h.start(), lie); err == nil || !strings.Contains(err.Error(), "is what was agreed on") {
		t.Errorf("%v", err)
	}
	// A directory in which nothing can be written.
	k = h.start()
	k.dir = filepath.Join(h.dir, "no", "such")
	if err := h.reach(k, points(t)[0]); err == nil || letters(t, k) != "A" {
		t.Errorf("%v; %s counts", err, letters(t, k))
	}
}

func TestDamagedRing(t *testing.T) {
	h := newKeyHouse(t, keyA)
	if err := h.reach(h.start(), points(t)[0]); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(h.dir, ringFile)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"empty": {}, "cut off": whole[:len(whole)/2], "no keys": []byte("{}"),
		"another mark": bytes.Replace(whole, []byte(keyOf(t, keyB).Mark()), []byte("0123456789abcdef"), 1),
	} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := openKeyring(context.Background(), h.dir, config.Node{KeyFile: h.file}, zerolog.Nop(), known(h.t))
		var hint hinted
		if !errors.As(err, &hint) || !strings.Contains(hint.hint, "flip key show --secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKeyFileIsRewritten(t *testing.T) {
	h := newKeyHouse(t, keyA)
	behind := filepath.Join(t.TempDir(), "linked")
	if err := os.Rename(h.file, behind); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(behind, h.file); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(behind, 0o440); err != nil {
		t.Fatal(err)
	}
	k := h.start()
	for _, to := range points(t)[:2] {
		if err := h.reach(k, to); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Lstat(h.file)
	if err != nil || info.Mode().Type() != os.ModeSymlink {
		t.Errorf("the link is gone: %v", err)
	}
	if info, err = os.Stat(behind); err != nil || info.Mode().Perm() != 0o440 || h.key() != keyB {
		t.Errorf("%v, %v: %q", info.Mode(), err, h.key())
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(behind), ".flip-key-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if len(k.alarms()) != 0 {
		t.Errorf("%+v", k.alarms())
	}
}

// A key in the configuration itself is for its owner to change.
func TestKeyInTheConfiguration(t *testing.T) {
	dir := t.TempDir()
	k, err := openKeyring(t.Context(), dir, config.Node{Key: keyA}, zerolog.Nop(), known(t))
	if err != nil {
		t.Fatal(err)
	}
	for i, to := range points(t)[:3] {
		if _, err := k.reach(to, func([]byte) {}); err != nil {
			t.Fatal(err)
		}
		if stale := len(k.alarms()) > 0; stale != (i > 0) {
			t.Errorf("point %d: %+v", i, k.alarms())
		}
	}
	k, err = openKeyring(t.Context(), dir, config.Node{Key: keyA}, zerolog.Nop(), known(t))
	if err != nil || letters(t, k) != "B" || len(k.alarms()) != 1 {
		t.Errorf("%v", err)
	}
	k, err = openKeyring(t.Context(), dir, config.Node{Key: keyB}, zerolog.Nop(), known(t))
	if err != nil || letters(t, k) != "B" || len(k.alarms()) != 0 {
		t.Errorf("%v, %+v", err, k.alarms())
	}
}

func TestRotationIsPrepared(t *testing.T) {
	h := newKeyHouse(t, keyA)
	k := h.start()
	r, err := k.Rotation(t.Context(), fsm.Keys{Round: 4}, " "+keyB+"\n")
	if err != nil || r.Was != 4 || r.Old != keyOf(t, keyA).Mark() || r.New != keyOf(t, keyB).Mark() {
		t.Fatalf("%+v, %v", r, err)
	}
	for with, sealed := range map[string][]byte{keyA: r.Sealed, keyB: r.Back} {
		if bytes.Contains(sealed, []byte("long enough")) {
			t.Error("a key is there in clear")
		}
		if _, err := keyOf(t, with).Unseal(sealed); err != nil {
			t.Error(err)
		}
	}
	for key, code := range map[string]string{keyA: api.CodeRefused, "two\nlines": api.CodeBadRequest, strings.Repeat("x", maxKey+1): api.CodeBadRequest} {
		if _, err := k.Rotation(t.Context(), fsm.Keys{}, key); api.CodeOf(err) != code {
			t.Errorf("%.20q: %v", key, err)
		}
	}
	var made []string
	k.derive = func(_ context.Context, key string) (*secure.Keys, error) {
		made = append(made, key)
		return nil, errors.New("enough")
	}
	for range 2 {
		if _, err := k.Rotation(t.Context(), fsm.Keys{}, ""); err == nil {
			t.Error("made of nothing")
		}
	}
	if len(made) != 2 || made[0] == made[1] || len(made[0]) < 40 {
		t.Errorf("%q", made)
	}
	for i, to := range points(t)[:3] {
		if err := h.reach(k, to); err != nil {
			t.Fatal(err)
		}
		_, err := k.Rotation(t.Context(), to, keyA)
		if want := []string{api.CodeUnavailable, api.CodeUnavailable, api.CodeRefused}[i]; api.CodeOf(err) != want {
			t.Errorf("point %d: %v", i, err)
		}
	}
}

// The process apart gives the very keys that this one would derive.
func TestDeriveApart(t *testing.T) {
	t.Setenv(asFlip, "1")
	k, err := deriveApart(t.Context(), keyX)
	if err != nil || k.Mark() != keyOf(t, keyX).Mark() || k.Key() != keyX {
		t.Errorf("%v", err)
	}
	if _, err := deriveApart(t.Context(), ""); err == nil {
		t.Error("derived from nothing")
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := deriveApart(over, keyX); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestGoneKeysAreBounded(t *testing.T) {
	var have secure.KeySet
	names := []string{keyA, keyB, keyC, keyX, keyA + "2", keyA + "3", keyA + "4"}
	have.Send = keyOf(t, names[0])
	for i, name := range names[1:] {
		fresh := keyOf(t, name)
		at := fsm.Keys{Round: fsm.Index(i + 1), Phase: fsm.KeyBoth, Old: have.Send.Mark(), New: fresh.Mark(), Sealed: have.Send.Seal(fresh), Back: fresh.Seal(have.Send)}
		for _, phase := range []fsm.KeyPhase{fsm.KeyBoth, fsm.KeyNew, fsm.KeyOnly} {
			at.Phase = phase
			var err error
			if have, err = keysAt(have, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	if have.Send.Key() != names[len(names)-1] || len(have.Gone) != goneKept {
		t.Fatalf("%d gone", len(have.Gone))
	}
	for i, k := range have.Gone { // the last ones
		if want := names[len(names)-2-i]; k.Key() != want {
			t.Errorf("%d: %s", i, fmt.Sprint(slices.Index(names, k.Key())))
		}
	}
}
