/**
 * Commands of Microsoft's documentation, as they stand there, beginning with `az iot`: the examples of the help of the
 * extension azure-iot (azext_iot/_help.py) and of the az CLI's own iot module, and those of the quickstarts. `{…}` and
 * names such as /certificates/Certificate.pem are filled in by the test; commands whose help has no example are typed
 * by their synopsis.
 */
export const examples = {
  services: `
    az iot dps create --name MyDps --resource-group MyResourceGroup
    az iot dps create --name my-sample-dps --resource-group my-sample-resource-group --location westus
    az iot dps create --name MyOtherDps --resource-group MyResourceGroup --location eastus
    az iot dps create --name MyThirdDps --resource-group MyResourceGroup --edr
    az iot dps list --query "[].name"
    az iot dps list --resource-group MyResourceGroup --output table
    az iot dps show --name MyDps --resource-group MyResourceGroup
    az iot dps show --name my-sample-dps --query properties.idScope
    az iot dps show --query properties.provisioningState --name my-sample-dps
    az iot dps update --name MyDps --resource-group MyResourceGroup --set properties.allocationPolicy="GeoLatency"
    az iot dps delete --name my-sample-dps --resource-group my-sample-resource-group
    az iot dps delete --name MyOtherDps --resource-group MyResourceGroup
    az iot dps show --name MyOtherDps --resource-group MyResourceGroup`,
  certificates: `
    az iot dps certificate create --dps-name MyDps --resource-group MyResourceGroup --name MyCertificate --path /certificates/Certificate.pem
    az iot dps certificate create --dps-name MyDps --resource-group MyResourceGroup --name MyVerified --path /certificates/Certificate.cer --verified
    az iot dps certificate create -n "Test-Only-Root" --dps-name {dps_name} -g IoTEdgeResources -p /certificates/Certificate.pem -v true
    az iot dps certificate list --dps-name MyDps --resource-group MyResourceGroup
    az iot dps certificate show --dps-name MyDps --resource-group MyResourceGroup --name MyCertificate
    az iot dps certificate show --certificate-name MyCertificate --dps-name MyDps --resource-group MyResourceGroup --subscription MySubscription
    az iot dps certificate generate-verification-code --dps-name MyDps --resource-group MyResourceGroup --name MyCertificate --etag AAAAAAAAAAA=
    az iot dps certificate verify --dps-name MyDps --resource-group MyResourceGroup --name MyCertificate --path /certificates/Verification.pem --etag AAAAAAAAAAA=
    az iot dps certificate update --dps-name MyDps --resource-group MyResourceGroup --name MyCertificate --path /certificates/NewCertificate.pem --etag AAAAAAAAAAA=
    az iot dps certificate update --dps-name MyDps --resource-group MyResourceGroup --name MyCertificate --path /certificates/NewCertificate.cer --etag AAAAAAAAAAA=
    az iot dps certificate delete --dps-name MyDps --resource-group MyResourceGroup --name MyCertificate --etag AAAAAAAAAAA=`,
  'linked-hubs': `
    az iot dps linked-hub create --dps-name MyDps --resource-group MyResourceGroup --location westus --connection-string 'HostName=myhub.azure-devices.net;SharedAccessKeyName=iothubowner;SharedAccessKey=12345'
    az iot dps linked-hub create --dps-name MyDps --resource-group MyResourceGroup --location westus --allocation-weight 10 --apply-allocation-policy True --connection-string 'HostName=myhub2.azure-devices.net;SharedAccessKeyName=iothubowner;SharedAccessKey=12345'
    az iot dps linked-hub create --dps-name MyDps --hub-name MyLinkedHub --hub-resource-group MyResourceGroup --query "[].name"
    az iot dps linked-hub list --dps-name MyDps --resource-group MyResourceGroup
    az iot dps linked-hub show --dps-name MyDps --resource-group MyResourceGroup --linked-hub MyLinkedHub
    az iot dps linked-hub update --dps-name MyDps --resource-group MyResourceGroup --linked-hub MyLinkedHub.azure-devices.net --allocation-weight 10 --apply-allocation-policy True
    az iot dps linked-hub delete --dps-name MyDps --resource-group MyResourceGroup --linked-hub MyLinkedHub
    az iot dps linked-hub show --dps-name MyDps --resource-group MyResourceGroup --linked-hub MyLinkedHub`,
  policies: `
    az iot dps policy create --dps-name MyDps --resource-group MyResourceGroup --policy-name MyPolicy --rights EnrollmentRead
    az iot dps policy list --dps-name MyDps --resource-group MyResourceGroup
    az iot dps policy show --dps-name MyDps --resource-group MyResourceGroup --policy-name MyPolicy
    az iot dps policy show --dps-name MyDps --policy-name MyPolicy --query primaryKey -o tsv
    az iot dps policy update --dps-name MyDps --resource-group MyResourceGroup --policy-name MyPolicy --rights EnrollmentWrite
    az iot dps policy update --dps-name MyDps --resource-group MyResourceGroup --policy-name MyPolicy --primary-key "" --secondary-key ""
    az iot dps policy create --dps-name MyDps --policy-name service --rights ServiceConfig EnrollmentWrite RegistrationStatusRead
    az iot dps connection-string show
    az iot dps connection-string show --resource-group MyResourceGroup
    az iot dps connection-string show -n MyDPS --all
    az iot dps connection-string show -n MyDPS
    az iot dps connection-string show -n MyDPS --policy-name service --key-type secondary
    az iot dps policy delete --dps-name MyDps --resource-group MyResourceGroup --policy-name MyPolicy
    az iot dps policy show --dps-name MyDps --resource-group MyResourceGroup --policy-name MyPolicy`,
  registrations: `
    az iot dps enrollment registration show --dps-name {dps_name} -g {resource_group_name} --enrollment-id {registered_id}
    az iot dps enrollment-group registration list --dps-name {dps_name} -g {resource_group_name} --enrollment-id {registered_group}
    az iot dps enrollment-group registration show --dps-name {dps_name} -g {resource_group_name} --registration-id {member_id}
    az iot dps registration list --dps-name {dps_name} -g {resource_group_name} --enrollment-id {registered_group} --query "[].registrationId"
    az iot dps registration show --dps-name {dps_name} -g {resource_group_name} --registration-id {member_id} --query status
    az iot dps enrollment-group registration delete --dps-name {dps_name} -g {resource_group_name} --registration-id {member_id}
    az iot dps enrollment registration delete --dps-name {dps_name} -g {resource_group_name} --enrollment-id {registered_id}
    az iot dps registration delete --dps-name {dps_name} -g {resource_group_name} --registration-id {registered_id}`,
  enrollments: `
    az iot dps enrollment create -g {resource_group_name} --dps-name {dps_name} --enrollment-id {enrollment_id} --attestation-type x509 --certificate-path /certificates/Certificate.pem --provisioning-status disabled --initial-twin-properties "{'location':{'region':'US'}}" --initial-twin-tags "{'version':'1'}" --device-info "{'color':'red'}" --device-id {device_id}
    az iot dps enrollment create -g {resource_group_name} --dps-name {dps_name} --enrollment-id {tpm_enrollment_id} --attestation-type tpm --endorsement-key 14963E8F3BA5B3984110B3C1CA8E8B89
    az iot dps enrollment create -g {resource_group_name} --dps-name {dps_name} --enrollment-id {symmetric_key_enrollment_id} --attestation-type symmetrickey --primary-key {primary_key} --secondary-key {secondary_key}
    az iot dps enrollment create -g {resource_group_name} --dps-name {dps_name} --enrollment-id enrollment-4 --attestation-type tpm --reprovision-policy {reprovision_type} --endorsement-key 14963E8F3BA5B3984110B3C1CA8E8B89
    az iot dps enrollment create -g {resource_group_name} --dps-name {dps_name} --enrollment-id enrollment-5 --attestation-type tpm --allocation-policy static --endorsement-key 14963E8F3BA5B3984110B3C1CA8E8B89 --iot-hubs {iot_hub_host_name}
    az iot dps enrollment create -g {resource_group_name} --dps-name {dps_name} --enrollment-id enrollment-6 --attestation-type tpm --allocation-policy hashed --endorsement-key 14963E8F3BA5B3984110B3C1CA8E8B89 --iot-hubs {iot_hub_host_name1} {iot_hub_host_name2}
    az iot dps enrollment create -g {resource_group_name} --dps-name {dps_name} --enrollment-id enrollment-7 --attestation-type tpm --allocation-policy hashed --endorsement-key 14963E8F3BA5B3984110B3C1CA8E8B89 --iot-hubs "{iot_hub_host_name1} {iot_hub_host_name2}"
    az iot dps enrollment create -g {resource_group_name} --dps-name {dps_name} --enrollment-id enrollment-8 --attestation-type symmetrickey --allocation-policy custom --webhook-url {webhook_url} --api-version {api_version}
    az iot dps enrollment create -g rg-iot-academy --dps-name {dps_name} --enrollment-id iot-academy-edge-device --edge-enabled true --tags "{'environment':'dev'}" --attestation-type symmetrickey
    az iot dps enrollment create -g rg-iot-academy --dps-name {dps_name} --enrollment-id iot-edge-device-2 --edge-enabled --props "{'location':{'region':'USA'}}" --attestation-type symmetrickey --query capabilities
    az iot dps enrollment create --attestation-type symmetrickey --dps-name {dps_name} --resource-group my-pnp-resourcegroup --enrollment-id my-pnp-device --device-id my-pnp-device --query '{registrationID:registrationId,primaryKey:attestation.symmetricKey.primaryKey}'
    az iot dps enrollment create -n {dps_name} --eid by-host-name --attestation-type symmetrickey --auth-type key --iot-hub-host-name {iot_hub_host_name}
    az iot dps enrollment show --dps-name {dps_name} -g {resource_group} --enrollment-id {enrollment_id}
    az iot dps enrollment show --dps-name {dps_name} -g {resource_group} --enrollment-id {symmetric_key_enrollment_id}
    az iot dps enrollment show --dps-name {dps_name} -g {resource_group} --enrollment-id {symmetric_key_enrollment_id} --show-keys
    az iot dps enrollment show -g {resource_group_name} --dps-name {dps_name} --enrollment-id {symmetric_key_enrollment_id} --show-keys true
    az iot dps enrollment list --dps-name {dps_name} --query "[].registrationId"
    az iot dps enrollment list --dps-name {dps_name} --top 2 --output table
    az iot dps enrollment update -g {resource_group_name} --dps-name {dps_name} --enrollment-id {enrollment_id} --certificate-path /certificates/NewCertificate.pem --etag AAAAAAAAAAA=
    az iot dps enrollment update -g {resource_group_name} --dps-name {dps_name} --enrollment-id {tpm_enrollment_id} --endorsement-key 14963E8F3BA5B3984110B3C1CA8E8B89 --etag AAAAAAAAAAA=
    az iot dps enrollment update -g {resource_group_name} --dps-name {dps_name} --enrollment-id {symmetric_key_enrollment_id} --primary-key {new_primary_key} --etag AAAAAAAAAAA=
    az iot dps enrollment update -g {resource_group_name} --dps-name {dps_name} --enrollment-id {enrollment_id} --reprovision-policy {reprovision_type} --etag AAAAAAAAAAA=
    az iot dps enrollment update -g {resource_group_name} --dps-name {dps_name} --enrollment-id {enrollment_id} --allocation-policy geolatency --etag AAAAAAAAAAA= --iot-hubs {iot_hub_host_name1} {iot_hub_host_name2} {iot_hub_host_name3}
    az iot dps enrollment update -g {resource_group_name} --dps-name {dps_name} --enrollment-id {enrollment_id} --initial-twin-properties "{'location':{'region':'USA'}}" --initial-twin-tags "{'version1':'2'}" --device-info "{'color':'red'}"
    az iot dps enrollment delete -g {resource_group_name} --dps-name {dps_name} --enrollment-id {enrollment_id}
    az iot dps enrollment show --dps-name {dps_name} -g {resource_group} --enrollment-id {enrollment_id}`,
  'enrollment-groups': `
    az iot dps enrollment-group create -g {resource_group_name} --dps-name {dps_name} --enrollment-id {enrollment_id} --certificate-path /certificates/Certificate.pem
    az iot dps enrollment-group create -g {resource_group_name} --dps-name {dps_name} --enrollment-id {ca_enrollment_id} --secondary-ca-name {certificate_name}
    az iot dps enrollment-group create -g {resource_group_name} --dps-name {dps_name} --enrollment-id group-3 --certificate-path /certificates/Certificate.pem --provisioning-status enabled --initial-twin-properties "{'location':{'region':'US'}}" --initial-twin-tags "{'version_dps':'1'}"
    az iot dps enrollment-group create -g {resource_group_name} --dps-name {dps_name} --enrollment-id {symmetric_key_enrollment_id} --primary-key {primary_key} --secondary-key {secondary_key}
    az iot dps enrollment-group create -g {resource_group_name} --dps-name {dps_name} --enrollment-id group-5 --allocation-policy custom --webhook-url {webhook_url} --api-version {api_version}
    az iot dps enrollment-group create --resource-group {resource_group_name} --dps-name {dps_name} --enrollment-id "cameras" --edge-enabled
    az iot dps enrollment-group create -n {dps_name} -g IoTEdgeResources --root-ca-name "Test-Only-Root" --secondary-root-ca-name "Test-Only-Root" --enrollment-id "DefaultGroup" --provisioning-status "enabled" --reprovision-policy "reprovisionandmigratedata" --iot-hubs "{iot_hub_host_name}" --allocation-policy "hashed" --edge-enabled false --tags '{ "Environment": "Staging"}'
    az iot dps enrollment-group show --dps-name {dps_name} -g {resource_group} --enrollment-id {enrollment_id}
    az iot dps enrollment-group show --dps-name {dps_name} -g {resource_group} --enrollment-id {symmetric_key_enrollment_id} --show-keys
    az iot dps enrollment-group show --dps-name {dps_name} --resource-group {resource_group} --enrollment-id {symmetric_key_enrollment_id} --query 'attestation.symmetricKey.primaryKey' -o tsv
    az iot dps enrollment-group list --resource-group {resource_group_name} --dps-name {dps_name} --query "[?enrollmentGroupId=='cameras']"
    az iot dps enrollment-group update -g {resource_group_name} --dps-name {dps_name} --enrollment-id {enrollment_id} --initial-twin-properties "{'location':{'region':'USA'}}" --initial-twin-tags "{'version_dps':'2'}" --etag AAAAAAAAAAA=
    az iot dps enrollment-group update -g {resource_group_name} --dps-name {dps_name} --enrollment-id {enrollment_id} --certificate-path /certificates/NewCertificate.pem --remove-secondary-certificate --etag AAAAAAAAAAA=
    az iot dps enrollment-group update -g {resource_group_name} --dps-name {dps_name} --enrollment-id {ca_enrollment_id} --secondary-ca-name {certificate_name} --remove-certificate --etag AAAAAAAAAAA=
    az iot dps enrollment-group update -g {resource_group_name} --dps-name {dps_name} --enrollment-id {symmetric_key_enrollment_id} --primary-key {new_primary_key} --etag AAAAAAAAAAA=
    az iot dps enrollment-group compute-device-key --key {primary_key} --registration-id {registration_id}
    az iot dps enrollment-group compute-device-key -g {resource_group_name} --dps-name {dps_name} --enrollment-id {symmetric_key_enrollment_id} --registration-id {registration_id}
    az iot dps compute-device-key --key {primary_key} --registration-id {registration_id}
    az iot dps compute-device-key -g {resource_group_name} --dps-name {dps_name} --enrollment-id {symmetric_key_enrollment_id} --registration-id {registration_id}
    az iot dps enrollment-group delete -g {resource_group_name} --dps-name {dps_name} --enrollment-id {enrollment_id}`,
} as const

/** The words of a command line, as a shell with quotes gives them to a program. */
export const wordsOf = (line: string): string[] =>
  [...line.matchAll(/(?:"[^"]*"|'[^']*'|[^\s"'])+/g)].map(([word]) => word.replaceAll(/"([^"]*)"|'([^']*)'/g, '$1$2'))

/** What differs from run to run, by the name of what it is. */
const masks: readonly (readonly [RegExp, string])[] = [
  [/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g, '<time>'],
  [/[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT/g, '<date>'],
  [/"(etag)": ".*"/g, '"$1": <etag>'],
  [/"serialNumber": "[0-9A-F]+"/g, '"serialNumber": <serial>'],
  [/\b[0-9A-Fa-f]{48}\b/g, '<code>'],
  [/\b([0-9A-Fa-f]{64}|[0-9A-F]{40})\b/g, '<thumbprint>'],
  [/(?<="|Key=|^)(?!\/provisioningServices)[A-Za-z0-9+/]{40,}={0,2}(?="|$)/gm, '<base64>'],
  [/\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/g, '<guid>'],
  [/\b0ne[0-9A-F]{8}\b/g, '<scope>'],
  [/\b\d{18}\b/g, '<ticks>'],
  [/tracking ID [0-9a-f]{32}[^)]*/g, 'tracking ID <id>'],
  [/(localhost|127\.0\.0\.1):\d+/g, '$1:<port>'],
]

export const masked = (text: string): string =>
  masks.reduce((result, [pattern, name]) => result.replaceAll(pattern, name), text)
