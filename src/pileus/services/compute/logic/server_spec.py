"""A server as the agent on its host needs to know it."""

from __future__ import annotations

from pileus.services.compute.db.servers import ImageCopy, Server
from pileus.services.compute.rpc import ConfigDriveFile, FlavorFacts, ImageRef, Nic, ServerSpec
from pileus.services.network.rpc import tap_name


def spec_of(server: Server, config_drive: tuple[ConfigDriveFile, ...] = ()) -> ServerSpec:
    """The spec; `config_drive` files are rendered by the caller."""
    flavor, image = server.flavor, server.image
    return ServerSpec(
        server_id=server.id,
        name=server.name,
        project_id=server.project_id,
        flavor=FlavorFacts(
            vcpus=flavor.vcpus, ram_mib=flavor.ram_mib, root_gib=flavor.root_gib, ephemeral_gib=flavor.ephemeral_gib,
            swap_mib=flavor.swap_mib, extra_specs=flavor.extra_specs,
        ),
        image=_image(image) if image else None,
        kernel=_image(image.kernel) if image and image.kernel else None,
        ramdisk=_image(image.ramdisk) if image and image.ramdisk else None,
        kernel_cmdline=image.properties.get("os_command_line", "") if image and image.kernel else "",
        nics=tuple(
            Nic(port_id=v.port_id, mac=v.mac.lower(), tap=tap_name(v.port_id), mtu=v.mtu, network_id=v.network_id)
            for v in server.network_info
        ),
        config_drive=config_drive,
        hostname=server.hostname,
    )


def _image(image: ImageCopy) -> ImageRef:
    return ImageRef(
        id=image.id, disk_format=image.disk_format, size_bytes=image.size_bytes or None, hash_algo=image.hash_algo,
        hash_value=image.hash_value, properties=image.properties,
    )
