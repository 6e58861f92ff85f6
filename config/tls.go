package config

// everyOperator stands for every certificate of the authority.
const everyOperator = "*"

// tls reads where the operator's own certificates are; nil: there are none.
func (p *parser) tls(top object) *TLS {
	v, f := top.get("tls")
	if !f.set {
		return nil
	}
	o := p.object(v, "tls.", levelTLS)
	if !o.is {
		return nil
	}
	out := &TLS{}
	for _, file := range []struct {
		name string
		into *string
		hint string
	}{
		{"cert", &out.Cert, "the PEM file with this node's certificate"},
		{"key", &out.Key, "the PEM file with the certificate's private key; the cluster's own key stays at the top level"},
		{"ca", &out.CA, "the PEM file with the authority that issues the nodes' certificates"},
	} {
		name, g := o.text(file.name)
		switch {
		case !g.set:
			p.missing(g, file.hint)
		case g.good:
			*file.into = p.beside(name)
		}
	}
	out.Operators = p.operators(o)
	out.AcceptKey, _ = o.boolean("accept_key")
	return out
}

// operators reads whose certificates may control the cluster.
func (p *parser) operators(o object) []string {
	v, f := o.get("operators")
	switch {
	case !f.set:
		return nil
	case v.kind != kindArray:
		p.wrong(v, f, "a list", `["alice@example.com"]`)
		return nil
	}
	var out []string
	for _, entry := range v.list {
		name, g := p.text(entry, field{at: entry.at, keyAt: entry.at, key: f.key, set: true})
		switch {
		case !g.good:
		case contains(out, name):
			p.fail(g.at, f.key, "remove one of the two", "%s is there twice", quote(name))
		default:
			out = append(out, name)
		}
		if name == everyOperator {
			p.note(g.at, f.key, "", "whoever has a certificate of the authority may control the cluster")
		}
	}
	return out
}
