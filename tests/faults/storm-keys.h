/* What the devices of storm-devices.c prove themselves with: certificates of one issuer, keys derived from one group's. */
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rand.h>

static X509 *issuer;
static EVP_PKEY *issuer_key;
static STACK_OF(X509) * issuers;
static unsigned char group_key[64];
static size_t group_key_bytes;

static void read_keys(const char *issuer_file, const char *key_file, const char *group_key_text) {
  FILE *certificate = fopen(issuer_file, "r"), *key = fopen(key_file, "r");
  if (!certificate || !key) die("cannot open the issuer", issuer_file);
  issuer = PEM_read_X509(certificate, NULL, NULL, NULL);
  issuer_key = PEM_read_PrivateKey(key, NULL, NULL, NULL);
  if (!issuer || !issuer_key) die("cannot read the issuer", issuer_file);
  fclose(certificate);
  fclose(key);
  issuers = sk_X509_new_null();
  sk_X509_push(issuers, issuer);
  unsigned char decoded[128];
  size_t length = strlen(group_key_text);
  int bytes = length > 100 ? -1 : EVP_DecodeBlock(decoded, (const unsigned char *)group_key_text, (int)length);
  group_key_bytes = (size_t)bytes - (size_t)(group_key_text[length - 1] == '=') - (size_t)(group_key_text[length - 2] == '=');
  if (bytes < 3 || group_key_bytes > sizeof group_key) die("--group-key must be base64 of 64 bytes at most", NULL);
  memcpy(group_key, decoded, group_key_bytes);
}

/* A certificate of the issuer for a new key. */
static X509 *make_certificate(const char *id, EVP_PKEY **key) {
  X509 *made = X509_new();
  *key = EVP_EC_gen("P-256");
  X509_set_version(made, X509_VERSION_3);
  unsigned char serial[8];
  RAND_bytes(serial, sizeof serial);
  serial[0] = (serial[0] & 0x7f) | 1;
  BIGNUM *number = BN_bin2bn(serial, sizeof serial, NULL);
  BN_to_ASN1_INTEGER(number, X509_get_serialNumber(made));
  BN_free(number);
  X509_gmtime_adj(X509_getm_notBefore(made), -3600);
  X509_gmtime_adj(X509_getm_notAfter(made), 86400);
  X509_set_pubkey(made, *key);
  X509_set_issuer_name(made, X509_get_subject_name(issuer));
  X509_NAME_add_entry_by_txt(X509_get_subject_name(made), "CN", MBSTRING_ASC, (unsigned char *)id, -1, -1, 0);
  if (!X509_sign(made, issuer_key, EVP_sha256())) die("cannot sign a certificate", NULL);
  return made;
}

static void escape(const char *text, char *into) {
  for (; *text; text++)
    if (strchr("+/=", *text)) into += sprintf(into, "%%%02X", *text);
    else *into++ = *text;
  *into = 0;
}

/* A token of the device's derived key, new for each run of the client (dps.md 1.7, 1.8). */
static void make_token(const char *scope, const char *id, char *into, size_t size) {
  unsigned char device_key[32], mac[32];
  char resource[256], encoded[300], text[350], signature[64], escaped[200];
  long expiry = time(NULL) + 3600;
  HMAC(EVP_sha256(), group_key, (int)group_key_bytes, (unsigned char *)id, strlen(id), device_key, NULL);
  snprintf(resource, sizeof resource, "%s/registrations/%s", scope, id);
  escape(resource, encoded);
  snprintf(text, sizeof text, "%s\n%ld", encoded, expiry);
  HMAC(EVP_sha256(), device_key, sizeof device_key, (unsigned char *)text, strlen(text), mac, NULL);
  EVP_EncodeBlock((unsigned char *)signature, mac, sizeof mac);
  escape(signature, escaped);
  snprintf(into, size, "SharedAccessSignature sr=%s&sig=%s&se=%ld&skn=registration", encoded, escaped, expiry);
}
