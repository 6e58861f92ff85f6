package secure

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"testing"
)

func TestDeriveIsTheSameEverywhere(t *testing.T) {
	again := mustDerive("key of cluster A")
	a := keysA()
	if !bytes.Equal(a.ca.Raw, again.ca.Raw) {
		t.Error("two nodes made different authorities")
	}
	if a.datagram != again.datagram || a.mark != again.mark {
		t.Error("two nodes derived different secrets")
	}
	b := keysB()
	if bytes.Equal(a.ca.Raw, b.ca.Raw) || a.datagram == b.datagram || a.mark == b.mark {
		t.Error("another key gave the same secrets")
	}
}

// A node of an older release must go on understanding a newer one: these bytes
// may change only together with WireVersion.
func TestDeriveGolden(t *testing.T) {
	a := keysA()
	ca := sha256.Sum256(a.ca.Raw)
	for _, c := range []struct{ what, got, want string }{
		{"mark", a.mark, "b5d2827ec3733aae"},
		{"datagram key", hex.EncodeToString(a.datagram[:]), "1c788011c00075afe4fdedd0437f91af17ef2d684902e811362468f5cf7fce7f"},
		{"authority", hex.EncodeToString(ca[:]), "c48e4533314a61432c277cd79d94b66601e40c598e6a32bbdc516f3db8201dc0"},
	} {
		if c.got != c.want {
			t.Errorf("%s is %s, was %s", c.what, c.got, c.want)
		}
	}
}

func TestDeriveRefusesNoKey(t *testing.T) {
	if _, err := Derive(nil); !errors.Is(err, ErrNoKey) {
		t.Errorf("error %v", err)
	}
}

func TestAuthorityIsOne(t *testing.T) {
	ca := keysA().ca
	if !ca.IsCA || !ca.MaxPathLenZero || ca.KeyUsage != x509.KeyUsageCertSign {
		t.Errorf("not an authority for leaves alone: %+v", ca)
	}
	if err := ca.CheckSignatureFrom(ca); err != nil {
		t.Errorf("signature: %v", err)
	}
}

func TestLeafCarriesAnyName(t *testing.T) {
	for _, id := range []Identity{
		n1,
		{"node.with.dots.", "i"},
		{"..", ""},
		{"Größe", "i/with/slashes"},
		{"a/b", "%2F"},
		{"name with space", "?#"},
		{"10.0.0.1", "0123456789abcdef"},
	} {
		leaf, err := keysA().leaf(id)
		if err != nil {
			t.Errorf("%q: %v", id, err)
			continue
		}
		if got, err := identityOf(leaf.Leaf); err != nil || got != id {
			t.Errorf("%q came back as %q, %v", id, got, err)
		}
		if again, _ := keysA().leaf(id); again != leaf {
			t.Errorf("%q: a second certificate in one process", id)
		}
	}
}

func TestNewKey(t *testing.T) {
	key := NewKey()
	raw, err := base64.RawURLEncoding.DecodeString(key)
	if err != nil || len(raw) != keyBytes {
		t.Fatalf("%q: %d bytes, %v", key, len(raw), err)
	}
	if NewKey() == key {
		t.Error("the same key twice")
	}
}

func TestWeak(t *testing.T) {
	for key, want := range map[string]bool{
		"":                                     true,
		"secret":                               true, // the README's own
		"short!Ax9":                            true,
		"aaaaaaaaaaaaaaaaaaaaaaaaaa":           true,
		"abcdefghijklmnopqrstuvwxyz0123456789": true,
		"123412341234123412341234":             true,
		"secretsecretsecretsecret":             true,
		"passwordpassword123changeme":          true,
		"secret-flip-cluster-key-2026":         true,
		"0123456789012345678901234567":         true,
		"ababababababababababababab":           true,
		"acacacacacacacacacacacacac":           true,
		"correct horse battery staple":         false,
		"Xk3-9fQz_72LmPw8":                     false,
		"9f86d081884c7d659a2feaa0c55ad015":     false,
		"flip-9f86d081884c7d659a2feaa0c55ad01": false,
	} {
		reason, weak := Weak(key)
		if weak != want || weak != (reason != "") {
			t.Errorf("%q: weak %v (%s), wanted %v", key, weak, reason, want)
		}
	}
	for range 200 {
		if reason, weak := Weak(NewKey()); weak {
			t.Fatalf("a made key is weak: %s", reason)
		}
	}
}
