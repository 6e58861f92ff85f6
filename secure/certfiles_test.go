package secure

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/e2e/pki"
	"github.com/flip-ha/flip/fsm"
)

// office is an authority with a directory for what it issues.
type office struct {
	*pki.Authority
	t   *testing.T
	dir string
}

func newOffice(t *testing.T) *office {
	t.Helper()
	a, err := pki.NewAuthority("Example Root")
	if err != nil {
		t.Fatal(err)
	}
	o := &office{a, t, t.TempDir()}
	o.file("ca.crt", a.PEM())
	return o
}

func (o *office) file(name string, data []byte) string {
	o.t.Helper()
	path := filepath.Join(o.dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		o.t.Fatal(err)
	}
	return path
}

// files issues a certificate.
func (o *office) files(name string, l pki.Leaf) Files {
	o.t.Helper()
	pair, err := o.Issue(l)
	if err != nil {
		o.t.Fatal(err)
	}
	cert, key, err := pair.Write(o.dir, name)
	if err != nil {
		o.t.Fatal(err)
	}
	return Files{cert, key, filepath.Join(o.dir, "ca.crt")}
}

// open makes a node's Certificates.
func (o *office) open(cfg CertConfig, keys *Keys) *Certificates {
	o.t.Helper()
	cfg.Log = zerolog.Nop()
	c, err := OpenCertificates(cfg, NewRing(KeySet{Send: keys}))
	if err != nil {
		o.t.Fatal(err)
	}
	return c
}

// node is open for a member with a certificate of its name.
func (o *office) node(name string, keys *Keys) *Certificates {
	o.t.Helper()
	return o.open(CertConfig{Files: o.files(name, pki.Leaf{DNS: []string{name}}), Self: fsm.MemberID(name)}, keys)
}

func TestCertificatesTroubles(t *testing.T) {
	o := newOffice(t)
	now := time.Now()
	for name, c := range map[string]struct {
		from, until time.Duration
		mode        os.FileMode
		says        string // "": nothing
		critical    bool
	}{
		"a year":              {-time.Hour, 365 * 24 * time.Hour, 0o600, "", false},
		"a group":             {-time.Hour, 365 * 24 * time.Hour, 0o640, "", false},
		"last days":           {-300 * 24 * time.Hour, 13*24*time.Hour + time.Hour, 0o600, "expires in 13 days", false},
		"a day, fresh":        {-time.Hour, 23 * time.Hour, 0o600, "", false},
		"a day, old":          {-20 * time.Hour, 4*time.Hour + time.Minute, 0o600, "expires in 4 hours", false},
		"minutes":             {-20 * time.Hour, 90*time.Minute + 40*time.Second, 0o600, "expires in 90 minutes", false},
		"over":                {-20 * time.Hour, -time.Hour, 0o600, "has expired on ", true},
		"not yet":             {time.Hour, 20 * time.Hour, 0o600, "holds from ", true},
		"everybody reads":     {-time.Hour, 365 * 24 * time.Hour, 0o644, "everybody can open the private key", false},
		"its group may write": {-time.Hour, 365 * 24 * time.Hour, 0o660, "its group can open the private key", false},
	} {
		f := o.files("n1", pki.Leaf{DNS: []string{"n1"}, From: now.Add(c.from), Until: now.Add(c.until)})
		if err := os.Chmod(f.Key, c.mode); err != nil {
			t.Fatal(err)
		}
		got := o.open(CertConfig{Files: f, Self: "n1"}, keysA()).Troubles()
		switch {
		case c.says == "" && len(got) > 0:
			t.Errorf("%s: %+v", name, got)
		case c.says != "" && (len(got) != 1 || !strings.Contains(got[0].What, c.says) || got[0].Critical != c.critical || got[0].Do == ""):
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// Each slip has words of its own, and says what to do.
func TestCertificateFiles(t *testing.T) {
	o, other := newOffice(t), newOffice(t)
	good := o.files("n1", pki.Leaf{DNS: []string{"n1"}})
	elsewhere := other.files("n1", pki.Leaf{DNS: []string{"n1"}})
	between, err := o.Under("Example Issuing")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := between.Issue(pki.Leaf{CN: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	whole := Files{o.file("whole.crt", pair.Cert), o.file("whole.key", pair.Key), good.CA}
	block, _ := pem.Decode(pair.Cert)
	alone := Files{o.file("alone.crt", pem.EncodeToMemory(block)), whole.Key, good.CA}
	with := func(edit func(*Files)) Files { f := good; edit(&f); return f }
	for name, c := range map[string]struct {
		files Files
		says  string // "": good
		do    string
	}{
		"good":               {good, "", ""},
		"with one between":   {whole, "", ""},
		"without it":         {alone, `issued by "CN=Example Issuing"`, "intermediate"},
		"not there":          {with(func(f *Files) { f.Cert = "nowhere.crt" }), "read tls.cert: open nowhere.crt", "relative path"},
		"a directory":        {with(func(f *Files) { f.CA = o.dir }), "read tls.ca", "right file"},
		"swapped":            {with(func(f *Files) { f.Cert, f.Key = f.Key, f.Cert }), "holds a private key and no certificate", "swapped"},
		"a certificate only": {with(func(f *Files) { f.Key = f.Cert }), "holds a certificate and no private key", "swapped"},
		"not PEM":            {with(func(f *Files) { f.CA = o.file("x", []byte("hello")) }), "no certificate in PEM", "BEGIN"},
		"DER":                {with(func(f *Files) { f.Cert = o.file("x.der", block.Bytes) }), "no certificate in PEM", "-inform der"},
		"a passphrase": {
			with(func(f *Files) {
				f.Key = o.file("enc.key", pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte{1}}))
			}),
			"has a passphrase", "openssl pkey",
		},
		"an old passphrase": {
			with(func(f *Files) {
				f.Key = o.file("enc2.key", pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"DEK-Info": "AES"}, Bytes: []byte{1}}))
			}),
			"has a passphrase", "openssl pkey",
		},
		"a broken key": {with(func(f *Files) {
			f.Key = o.file("bad.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}}))
		}), "read tls.key", "openssl pkey"},
		"a broken certificate": {with(func(f *Files) {
			f.Cert = o.file("bad.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1}}))
		}), "certificate 1", "anew"},
		"another's key":       {with(func(f *Files) { f.Key = elsewhere.Key }), "does not belong to the certificate of n1", "-pubout"},
		"another's authority": {with(func(f *Files) { f.CA = elsewhere.CA }), `issued by "CN=Example Root"`, "`ca`"},
		"no authority":        {with(func(f *Files) { f.CA = f.Cert }), "is no authority's", "`ca`"},
		"another name":        {o.files("n2", pki.Leaf{DNS: []string{"n2", "n2.example.com"}}), "is of n2, n2.example.com, and this node is n1", "--id"},
		"a wild card":         {o.files("w", pki.Leaf{DNS: []string{"*"}}), "is of *, and this node is n1", "--id"},
		"for clients only": {
			o.files("client", pki.Leaf{CN: "n1", Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}), "is not for this use", "serverAuth and clientAuth",
		},
		"for servers only": {
			o.files("server", pki.Leaf{CN: "n1", Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}), "is not for this use", "serverAuth and clientAuth",
		},
		"expired": {o.files("late", pki.Leaf{CN: "n1", From: time.Now().Add(-2 * time.Minute), Until: time.Now().Add(-time.Minute)}), "", ""},
		"a name that would write on the terminal": {o.files("esc", pki.Leaf{CN: "\x1b[2Jn1"}), `is of "\x1b[2Jn1"`, "--id"},
	} {
		_, err := OpenCertificates(CertConfig{Files: c.files, Self: "n1", Log: zerolog.Nop()}, NewRing(KeySet{Send: keysA()}))
		var known *CertError
		switch {
		case c.says == "":
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		case !errors.As(err, &known) || !strings.Contains(err.Error(), c.says) || !strings.Contains(known.Do, c.do):
			t.Errorf("%s: %v, do: %+v", name, err, known)
		}
	}
}

func TestUnreadableCertificate(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may read everything")
	}
	o := newOffice(t)
	f := o.files("n1", pki.Leaf{DNS: []string{"n1"}})
	if err := os.Chmod(f.Key, 0); err != nil {
		t.Fatal(err)
	}
	_, err := OpenCertificates(CertConfig{Files: f, Self: "n1", Log: zerolog.Nop()}, NewRing(KeySet{Send: keysA()}))
	var known *CertError
	if !errors.As(err, &known) || !errors.Is(err, os.ErrPermission) || !strings.Contains(known.Do, "uid") {
		t.Errorf("%v", err)
	}
}
