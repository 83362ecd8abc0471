// This file holds the tests of the table of secret names.

package svclog

import (
	"slices"
	"strings"
	"testing"
	"unicode"
)

// documented are the secret names of the public API descriptions, as they are
// written there.
var documented = strings.Fields(`
	password oldPassword newPassword currentPassword adminsPassword userPassword rootPassword accountPassword
	serviceAccountPassword office365UserPassword officeUserpassword onPremisesUserPassword onpremisesUserpassword
	certificatePassword webServerCertificatePfxPassword applicationCertificatePassword privateKeyPassphrase passphrase
	keyOrPassword defaultUserPassword access_token refresh_token mfa_token mfa_code mfaToken mfaCode updater_token
	sso_token saml_response SamlResponse assertion integration_token vbr_token code authorization_code encrypted_code
	authCode public_key publicKey token secret secretKey newSecretKey accessKey accessKeys sharedKey clientSecret
	applicationSecret privateKey privateKeyBase64 certificateContent recoveryToken scratchCodes qrString secretUrl
	mfaKey mfaQrCodeUrl accessTokenCache longLivedRefreshToken updaterToken accessToken refreshToken passwords
	Authentication_code totp-secret encryption_key client_secret api_key X-Api-Key X-OTP-TOKEN X-CSRF-TOKEN
	X-RestSvcSessionId Authorization Proxy-Authorization Cookie Set-Cookie totp_secret next_password
	communityString handshakeCode
`)

// lookalikes are names of the same descriptions that are no secrets.
var lookalikes = strings.Fields(`
	encryptionPasswordId encryptionPasswordIdOrNull encryptionPasswordUniqueId encryptionPasswordTag passwordHint
	token_type passwordFilePath nextChangeToken passwordId encryptionKeyId encryptionKeyName clientSecretExpiration
	recoveryRecPasswordLossProtection assertionConsumerUrl encryptionPasswords Postman-Token errorCode statusCode
	grant_type username use_short_term_refresh short_lived_refresh_token disable_antiforgery_token mfa_enabled
	keySize key id name sessionId resourceId message x-api-version description expires_in .issued .expires userUid
	subject scopes thumbprint serialNumber keyAlgorithm communityEdition codeNew codeCurrent
`)

func TestDocumentedSecretsAreKnownInEverySpelling(t *testing.T) {
	for _, name := range documented {
		for _, spelled := range spellings(name) {
			if !SecretName(spelled) {
				t.Errorf("%q, a spelling of %s, is not taken for secret", spelled, name)
			}
		}
	}
}

func TestLookalikesStayReadableInEverySpelling(t *testing.T) {
	for _, name := range lookalikes {
		for _, spelled := range []string{name, strings.ToUpper(name), strings.ToLower(name), snake(name), percent(name)} {
			if SecretName(spelled) {
				t.Errorf("%q, a spelling of %s, is taken for secret", spelled, name)
			}
		}
	}
}

func TestNamesThatSomeServerWouldTakeForASecretOneAreSecret(t *testing.T) {
	for _, name := range []string{
		"password[]", "password[0]", "user[password]", "credentials.password", "$password", " password ", "password2",
		"pass%77ord", "pass%2577ord", "pass%252577ord", "p%61ssw%6frd", "pass%00word", "pass\x00word", "pass%u0077ord",
		`pass\u0077ord`, `p\u0061ssw\u006Frd`, "pass\u200bword", "pa\xffssword", "ｐａｓｓｗｏｒｄ", "paſſword", "toKen",
		"PASSWORD", "pAsSwOrD", "__password__", "backupAdminPassword", "veeamServicePassphrase", "someNewSecret",
		"azureStorageAccountKey", "newPasswordConfirm", "password_confirmation", "dbPassword_old", "clientSecretNew", "passwordRepeat",
		"snmpCommunity", "snmp_community_string", "communityStrings", "community", "applianceHandshakeCode", "pairing-code", "x-vault-token", "id_token", "dbPwd", strings.Repeat("x", 5000) + "Password",
		strings.Repeat("%25", 40) + "70assword",
	} {
		if !SecretName(name) {
			t.Errorf("%.80q is not taken for secret", name)
		}
	}
	for _, name := range []string{"", "%", "%%", "%zz", "\\", `\u`, `\u00`, "password_hint_text", "é", "\xff"} {
		if SecretName(name) {
			t.Errorf("%q is taken for secret", name)
		}
	}
}

func TestTheTableIsNormalizedAndFits(t *testing.T) {
	for name := range names() {
		var buf [nameWidth]byte
		if string(normalize(&buf, name)) != name || len(name) >= nameWidth {
			t.Errorf("row %q is not normalised or longer than %d", name, nameWidth)
		}
	}
	for last, words := range suffixes {
		for _, word := range words {
			if int(word[len(word)-1]) != last {
				t.Errorf("suffix %q stands in the row of %q", word, rune(last))
			}
		}
	}
	for name := range knownFields() {
		if judge(name) != readable {
			t.Errorf("%q is both a readable field and a secret", name)
		}
	}
}

func spellings(name string) []string {
	all := []string{
		name, strings.ToUpper(name), strings.ToLower(name), snake(name), strings.ReplaceAll(snake(name), "_", "-"),
		percent(name), percent(percent(name)), strings.ToUpper(snake(name)),
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// snake turns camelCase into snake_case.
func snake(name string) string {
	var b strings.Builder
	for i, r := range name {
		if unicode.IsUpper(r) && i > 0 && unicode.IsLower(rune(name[i-1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// percent encodes every byte, as no client must but any may.
func percent(text string) string {
	const hex = "0123456789abcdef"
	var b strings.Builder
	for i := range len(text) {
		b.Write([]byte{'%', hex[text[i]>>4], hex[text[i]&0xf]})
	}
	return b.String()
}

// TestTheQuickLookAtAnEndMissesNoName holds it to judge.
func TestTheQuickLookAtAnEndMissesNoName(t *testing.T) {
	ends := []string{"", "x", "2", "64", "_", "-x", " ", "B64", "Base64", "Value", "Text", "Hex", "Pem", "[0]", ".", "\u212a", "%", "%41", `\u0041`, "s", "d", "Id", "%2541", "%5cu006b", "%k", "u", "abc"}
	var all []string
	for name := range names() {
		all = append(all, name)
	}
	for _, words := range suffixes {
		all = append(all, words...)
	}
	for _, name := range all {
		for _, start := range []string{"", "x", "9", "my "} {
			for _, end := range ends {
				for _, more := range ends {
					text := start + name + end + more
					if v := judge(text); endsUnlikeAName(text, true) && v != readable {
						t.Fatalf("%q is %d", text, v)
					}
					if v := judge(text); !strings.ContainsAny(text, " ") && endsUnlikeAName(text, false) && v != readable {
						t.Fatalf("the end of %q is %d", text, v)
					}
				}
			}
		}
	}
	for _, text := range []string{"", "x", "22", "2022-10-03T11", "https", "/api/v1/jobs?limit", "a name: size"} {
		if !endsUnlikeAName(text, false) {
			t.Errorf("%q needs a closer look", text)
		}
	}
}
