// Which subjects of client certificates identify their callers.

package tlspin

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"
)

// Two certificates with one text have one subject, up to the order of its attributes.
func TestASubjectThatAnotherOneCouldPassForIdentifiesNobody(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cn, serial, org, unit, mail := []int{2, 5, 4, 3}, []int{2, 5, 4, 5}, []int{2, 5, 4, 10}, []int{2, 5, 4, 11}, []int{1, 2, 840, 113549, 1, 9, 1}
	a := func(attribute []int, value string) pkix.AttributeTypeAndValue {
		return pkix.AttributeTypeAndValue{Type: attribute, Value: value}
	}
	sets := func(attributes ...pkix.AttributeTypeAndValue) (name pkix.RDNSequence) {
		for _, one := range attributes {
			name = append(name, pkix.RelativeDistinguishedNameSET{one})
		}
		return name
	}
	for name, tt := range map[string]struct {
		subject pkix.RDNSequence
		want    string // empty for nobody
	}{
		"a name":                     {sets(a(org, "Lab"), a(cn, "alice")), "CN=alice,O=Lab"},
		"another order":              {sets(a(cn, "alice"), a(org, "Lab")), "CN=alice,O=Lab"},
		"a comma in the name":        {sets(a(cn, "alice,O=Lab")), `CN=alice\,O=Lab`},
		"a name of another script":   {sets(a(cn, "żółw")), "CN=żółw"},
		"several units":              {sets(a(unit, "a"), a(unit, "b"), a(cn, "alice")), "CN=alice,OU=a+OU=b"},
		"an address":                 {sets(a(cn, "alice"), a(mail, "x@y")), "CN=alice,1.2.840.113549.1.9.1=#0c03784079"},
		"no subject":                 {nil, ""},
		"two names":                  {sets(a(org, "Lab"), a(cn, "mallory"), a(cn, "alice")), ""},
		"two names, one empty":       {sets(a(cn, "alice"), a(cn, "")), ""},
		"two names in one set":       {pkix.RDNSequence{{a(cn, "mallory"), a(cn, "alice")}}, ""},
		"two serial numbers":         {sets(a(cn, "alice"), a(serial, "1"), a(serial, "2")), ""},
		"an invisible character":     {sets(a(cn, "alice\u200b")), ""},
		"a change of the direction":  {sets(a(cn, "\u202eecila")), ""},
		"a sequence for a terminal":  {sets(a(cn, "alice\x1b[1A")), ""},
		"an invisible one elsewhere": {sets(a(cn, "alice"), a(org, "Lab\x00")), ""},
	} {
		raw, err := asn1.Marshal(tt.subject)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(1), RawSubject: raw}
		made, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		certificate, err := x509.ParseCertificate(made)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		state := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{certificate}}
		if got, err := ClientSubject(state); got != "" || err != nil {
			t.Errorf("%s: %q, %v, although nobody has verified it", name, got, err)
		}
		state.VerifiedChains = [][]*x509.Certificate{{certificate}}
		if got, err := ClientSubject(state); got != tt.want || (err != nil) != (tt.want == "" && tt.subject != nil) {
			t.Errorf("%s: %q, %v, want %q", name, got, err, tt.want)
		}
	}
	if got, err := ClientSubject(nil); got != "" || err != nil {
		t.Errorf("without TLS: %q, %v", got, err)
	}
}
